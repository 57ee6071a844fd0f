//! The macro that states each setting once: its documentation, key, type, default and bounds.

/// Declares a section of the configuration.
///
/// Each line is `key: Type, copy|lend = default, rule;`. The macro makes a struct with private fields, its default,
/// a getter for each field (`copy` returns the value, `lend` a view of it) and the walk over the fields, by which the
/// TOML reader, the bounds check and `config show` all see the same list.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty, $how:ident = $default:expr, $rule:expr;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            $($key: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $name {
            $($crate::config::section::section!(@getter $how, $key, $type, $($doc),+);)+

            /// Shows each field to `visit`, until it fails.
            pub(super) fn walk<E>(
                &mut self,
                section: &str,
                visit: &mut dyn FnMut($crate::config::setting::Field<'_>) -> Result<(), E>,
            ) -> Result<(), E> {
                $(visit($crate::config::setting::Field {
                    section,
                    key: stringify!($key),
                    doc: &[$($doc),+],
                    rule: $rule,
                    kind: <$type as $crate::config::setting::Setting>::kind(),
                    value: &mut self.$key,
                })?;)+
                Ok(())
            }
        }
    };
    (@getter copy, $key:ident, $type:ty, $($doc:literal),+) => {
        $(#[doc = $doc])+
        pub const fn $key(&self) -> $type {
            self.$key
        }
    };
    (@getter lend, $key:ident, $type:ty, $($doc:literal),+) => {
        $(#[doc = $doc])+
        pub fn $key(&self) -> &<$type as std::ops::Deref>::Target {
            &self.$key
        }
    };
}
pub(crate) use section;
