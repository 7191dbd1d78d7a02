//! The small automata of JSON outside of strings (RFC 8259): open containers, numbers, literals.

use super::{NESTING_LIMIT, Reason};

/// The open objects and arrays, innermost in the lowest bit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Containers {
    objects: u128,
    depth: u32,
}

impl Containers {
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    pub(super) fn open(&mut self, object: bool) -> Result<(), Reason> {
        if self.depth == NESTING_LIMIT {
            return Err(Reason::TooDeep);
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }
}

/// How far a number has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    pub(super) fn start(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Whole),
            _ => None,
        }
    }

    /// The state behind `byte`, or `None` if `byte` does not belong to the number.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus | Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Some(Self::ExponentDigits),
            _ => None,
        }
    }

    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits)
    }
}

/// What is still to come of `true`, `false` or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal(&'static [u8]);

impl Literal {
    pub(super) fn start(byte: u8) -> Option<Self> {
        match byte {
            b't' => Some(Self(b"rue")),
            b'f' => Some(Self(b"alse")),
            b'n' => Some(Self(b"ull")),
            _ => None,
        }
    }

    /// What is to come behind `byte` (`Some(None)`: nothing), or `None` if `byte` does not fit.
    pub(super) fn next(self, byte: u8) -> Option<Option<Self>> {
        match self.0 {
            [first, rest @ ..] if *first == byte => Some((!rest.is_empty()).then_some(Self(rest))),
            _ => None,
        }
    }
}
