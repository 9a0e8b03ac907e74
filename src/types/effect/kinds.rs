//! The table of the kinds of a change. The number of a kind stands once, in its row.

/// Makes the enum of the kinds of a change.
///
/// A row `Name(Type) = number` is a kind with parts. The type defines its bytes by `put` and `read`,
/// and what it does by `apply`. A row `Name = number => function` is a kind without parts. The
/// function is what it does.
macro_rules! change_kinds {
    (
        $(#[$about:meta])*
        $change:ident: read with $context:ty, applied to $value:ty;
        with parts { $($(#[$doc:meta])* $name:ident($kind:ty) = $number:literal,)+ }
        without { $($(#[$plain_doc:meta])* $plain:ident = $plain_number:literal => $apply:path,)+ }
    ) => {
        $(#[$about])*
        pub enum $change<'a> {
            $($(#[$doc])* $name($kind),)+
            $($(#[$plain_doc])* $plain,)+
        }

        impl<'a> $change<'a> {
            const fn number(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $number,)+
                    $(Self::$plain => $plain_number,)+
                }
            }

            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(change) => change.put(out),)+
                    $(Self::$plain)|+ => {}
                }
            }

            fn read(number: u8, context: $context, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
                match number {
                    $($number => <$kind>::read(context, rest).map(Self::$name),)+
                    $($plain_number => Ok(Self::$plain),)+
                    _ => Err(Corrupt("unknown effect")),
                }
            }

            fn apply(&self, value: &mut $value) -> Result<(), Corrupt> {
                match self {
                    $(Self::$name(change) => change.apply(value)?,)+
                    $(Self::$plain => $apply(value),)+
                }
                Ok(())
            }
        }
    };
}

pub(in crate::types::effect) use change_kinds;
