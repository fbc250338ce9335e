//! The tables of faults and quirks: a row for each, with its names and what it changes of the value
//! that says how a server or a client behaves.

/// A text that names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault named `{0}`")]
pub struct UnknownFault(pub String);

/// A text that names no quirk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no quirk named `{0}`")]
pub struct UnknownQuirk(pub String);

macro_rules! faults {
    ($Fault:ident, $who:literal, $Value:ty; $($area:literal {
        $($variant:ident = $name:literal, $what:literal, [$($id:literal),+], $set:expr;)*
    })*) => {
        #[doc = concat!("A rule that the ", $who, " breaks on purpose.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Fault {
            $($(
                #[doc = concat!("The ", $who, " ", $what, ".\n\nTrips", $(" `", $id, "`",)+ ".")]
                $variant,
            )*)*
        }

        impl $Fault {
            /// Every fault, in the order of a session.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// The areas of the protocol that faults are in, in the order of a session.
            pub const AREAS: &'static [&'static str] = &[$($area),*];

            /// The area of the protocol that it is in.
            #[must_use]
            pub const fn area(self) -> &'static str {
                match self { $($(Self::$variant => $area,)*)* }
            }

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            #[doc = concat!("What the ", $who, " does, as the rest of a sentence that begins with \"the ", $who, "\".")]
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $($(Self::$variant => $what,)*)* }
            }

            #[doc = concat!("What it changes of how a ", $who, " behaves.")]
            #[must_use]
            pub(crate) const fn change(self) -> fn(&mut $Value) {
                match self { $($(Self::$variant => $set,)*)* }
            }

            /// The requirements that the fault must be seen to break. It may break more.
            #[must_use]
            pub const fn expected(self) -> &'static [&'static str] {
                match self {
                    $($(Self::$variant => const { &[$(protocol::requirements::known($id)),+] },)*)*
                }
            }
        }

        impl std::fmt::Display for $Fault {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $Fault {
            type Err = $crate::rows::UnknownFault;

            fn from_str(text: &str) -> Result<Self, $crate::rows::UnknownFault> {
                Self::ALL
                    .iter()
                    .find(|fault| fault.name() == text)
                    .copied()
                    .ok_or_else(|| $crate::rows::UnknownFault(text.to_owned()))
            }
        }
    };
}

pub(crate) use faults;

macro_rules! quirks {
    ($Quirk:ident, $who:literal, $Value:ty; $($variant:ident = $name:literal, $what:literal, $why:literal, $set:expr;)*) => {
        #[doc = concat!("A lawful choice that few ", $who, "s make.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $Quirk {
            $(
                #[doc = concat!("The ", $who, " ", $what, ". Lawful: ", $why, ".")]
                $variant,
            )*
        }

        impl $Quirk {
            /// Every quirk, in the order of a session.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            #[doc = concat!("What the ", $who, " does, as the rest of a sentence that begins with \"the ", $who, "\".")]
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// Why it may do so: a requirement of the catalogue that permits it, or the title of a
            /// section of the specification and what that says.
            #[must_use]
            pub const fn lawful(self) -> &'static str {
                match self { $(Self::$variant => $why,)* }
            }

            #[doc = concat!("What it changes of how a ", $who, " behaves.")]
            pub(crate) const fn change(self) -> fn(&mut $Value) {
                match self { $(Self::$variant => $set,)* }
            }
        }

        impl std::fmt::Display for $Quirk {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $Quirk {
            type Err = $crate::rows::UnknownQuirk;

            fn from_str(text: &str) -> Result<Self, $crate::rows::UnknownQuirk> {
                let found = Self::ALL.iter().find(|quirk| quirk.name() == text);
                found.copied().ok_or_else(|| $crate::rows::UnknownQuirk(text.to_owned()))
            }
        }
    };
}

pub(crate) use quirks;
