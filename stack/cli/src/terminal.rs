//! What the standard output is.

use std::io::{self, IsTerminal};

/// Colour is for terminals, and not for those who do not want it (`NO_COLOR`, <https://no-color.org>).
pub(crate) fn wants_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
