//! What the kernel knows, as the stack sees it, on veth pairs in namespaces of their own. Needs root; `--features veth`
//! turns it on.

mod listeners;
mod neighbours;
mod ports;
mod settling;
mod state;
mod world;
