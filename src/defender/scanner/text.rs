//! The inside of a JSON string: undoes its escapes and checks it, in pieces cut anywhere. This is the hot loop: a
//! packed row is a string full of `\"`, so it works on eight bytes at a time, copying and looking for the next special
//! byte in one pass, instead of one search and one copy for each of the short runs between escapes.

use super::Reason;

/// How many bytes more than it takes in [`Text::unescape`] may write over: characters begun in the piece before (two
/// escapes of three bytes), the newline of a row, and the whole word that is stored before it is known how much of it counts.
pub(super) const SLACK: usize = 32;

/// Where in a string the last piece ended. At the end of a string it is as new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Text {
    escape: Escape,
    /// The first half of a surrogate pair, or 0.
    high: u16,
    utf8: Utf8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// Behind a backslash.
    Open,
    /// Behind `\u` and `digits` of its four digits.
    Unicode { digits: u8, value: u16 },
}

/// The continuation bytes that are to come, and the range that the next one must lie in (Unicode, table 3-7).
#[derive(Debug, Clone, Copy, Default)]
struct Utf8 {
    awaited: u8,
    low: u8,
    high: u8,
}

/// What a one-letter escape stands for; 0: there is none.
const SHORT: [u8; 256] = {
    let mut table = [0; 256];
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table[b'n' as usize] = b'\n';
    table[b'r' as usize] = b'\r';
    table[b't' as usize] = b'\t';
    table
};

impl Text {
    /// Goes on from `input[*at]` and writes to `out[*end..]`, which must have room for the rest of `input` and [`SLACK`].
    /// Says whether the closing quote has come; if not, all of `input` is used up.
    pub(super) fn unescape(
        &mut self,
        input: &[u8],
        at: &mut usize,
        out: &mut [u8],
        end: &mut usize,
    ) -> Result<bool, Reason> {
        loop {
            if self.is_plain() {
                copy_plain(input, at, out, end);
            }
            let Some(&byte) = input.get(*at) else { return Ok(false) };
            // Advanced only behind the check, so that an error names the byte itself.
            let over = self.step(byte, out, end)?;
            *at += 1;
            if over {
                return Ok(true);
            }
        }
    }

    fn is_plain(&self) -> bool {
        self.escape == Escape::None && self.high == 0 && self.utf8.awaited == 0
    }

    /// One byte, in any state; says whether it was the closing quote.
    fn step(&mut self, byte: u8, out: &mut [u8], end: &mut usize) -> Result<bool, Reason> {
        match self.escape {
            Escape::None if self.utf8.awaited > 0 => self.utf8.go_on(byte)?,
            Escape::None if byte == b'\\' => {
                self.escape = Escape::Open;
                return Ok(false);
            }
            Escape::None => {
                self.lone_surrogate(out, end);
                match byte {
                    b'"' => return Ok(true),
                    0..0x20 => return Err(Reason::BadText),
                    0x20..0x80 => {}
                    0x80.. => self.utf8 = Utf8::start(byte).ok_or(Reason::BadText)?,
                }
            }
            Escape::Open if byte == b'u' => {
                self.escape = Escape::Unicode { digits: 0, value: 0 };
                return Ok(false);
            }
            Escape::Open => {
                let meant = SHORT[usize::from(byte)];
                if meant == 0 {
                    return Err(Reason::BadText);
                }
                self.escape = Escape::None;
                self.lone_surrogate(out, end);
                push(out, end, &[meant]);
                return Ok(false);
            }
            Escape::Unicode { digits, value } => {
                let digit = char::from(byte).to_digit(16).ok_or(Reason::BadText)?;
                // At most 15, so nothing is lost.
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    self.escape = Escape::Unicode { digits: digits + 1, value };
                } else {
                    self.escape = Escape::None;
                    self.code_unit(value, out, end);
                }
                return Ok(false);
            }
        }
        push(out, end, &[byte]);
        Ok(false)
    }

    fn code_unit(&mut self, unit: u16, out: &mut [u8], end: &mut usize) {
        let character = if self.high == 0 {
            char::from_u32(u32::from(unit))
        } else {
            char::decode_utf16([self.high, unit]).next().and_then(Result::ok)
        };
        match character {
            Some(character) => {
                self.high = 0;
                push_char(out, end, character);
            }
            // No pair: the earlier half stands alone, and this unit is looked at again by itself.
            None if self.high != 0 => {
                self.lone_surrogate(out, end);
                self.code_unit(unit, out, end);
            }
            None if unit < 0xdc00 => self.high = unit,
            None => push_char(out, end, char::REPLACEMENT_CHARACTER),
        }
    }

    /// What a first half without its second becomes.
    fn lone_surrogate(&mut self, out: &mut [u8], end: &mut usize) {
        if self.high != 0 {
            self.high = 0;
            push_char(out, end, char::REPLACEMENT_CHARACTER);
        }
    }
}

impl Utf8 {
    fn start(byte: u8) -> Option<Self> {
        let (awaited, low, high) = match byte {
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xe1..=0xec | 0xee..=0xef => (2, 0x80, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return None,
        };
        Some(Self { awaited, low, high })
    }

    fn go_on(&mut self, byte: u8) -> Result<(), Reason> {
        if byte < self.low || byte > self.high {
            return Err(Reason::BadText);
        }
        *self = Self { awaited: self.awaited - 1, low: 0x80, high: 0xbf };
        Ok(())
    }
}

/// Copies up to the next byte that needs a look, and undoes one-letter escapes on the way. Stops within the last
/// bytes of `input` too, where no whole word is left.
#[inline]
fn copy_plain(input: &[u8], at: &mut usize, out: &mut [u8], end: &mut usize) {
    let (mut from, mut to) = (*at, *end);
    while let (Some(word), Some(room)) = (
        input.get(from..).and_then(|rest| rest.first_chunk::<8>()),
        out.get_mut(to..).and_then(|rest| rest.first_chunk_mut::<8>()),
    ) {
        // All eight are stored; those behind a special byte are written over.
        *room = *word;
        let special = special_bytes(u64::from_le_bytes(*word));
        if special == 0 {
            from += 8;
            to += 8;
            continue;
        }
        let plain = (special.trailing_zeros() / 8) as usize;
        from += plain;
        to += plain;
        match input[from] {
            b'\\' => match input.get(from + 1).map_or(0, |&letter| SHORT[usize::from(letter)]) {
                0 => match unicode_escape(&input[from..]) {
                    Some(character) => {
                        push_char(out, &mut to, character);
                        from += UNICODE_ESCAPE_BYTES;
                    }
                    None => break,
                },
                meant => {
                    out[to] = meant;
                    to += 1;
                    from += 2;
                }
            },
            0x80.. => match foreign_run(&input[from..]) {
                [] => break,
                run => {
                    push(out, &mut to, run);
                    from += run.len();
                }
            },
            _ => break,
        }
    }
    (*at, *end) = (from, to);
}

/// `\uXXXX`
const UNICODE_ESCAPE_BYTES: usize = 6;

/// The character of a whole `\uXXXX` at the start of `input`, unless it is half of a pair. Some writers escape even quotes
/// this way, so it must be quick.
fn unicode_escape(input: &[u8]) -> Option<char> {
    let [b'\\', b'u', digits @ ..] = input.first_chunk::<UNICODE_ESCAPE_BYTES>()? else { return None };
    let mut unit = 0;
    for &digit in digits {
        unit = unit << 4 | char::from(digit).to_digit(16)?;
    }
    char::from_u32(unit)
}

/// Whole characters beyond ASCII at the start of `input`, some of them if there are many.
fn foreign_run(input: &[u8]) -> &[u8] {
    const LOOK_AHEAD: usize = 64;
    let near = &input[..input.len().min(LOOK_AHEAD)];
    let run = near.iter().position(u8::is_ascii).map_or(near, |len| &near[..len]);
    match std::str::from_utf8(run) {
        Ok(_) => run,
        Err(error) => &run[..error.valid_up_to()],
    }
}

/// The high bit of each byte that is a quote, a backslash, a control character or not ASCII. The lowest bit set is
/// right; those above it may be wrong (a borrow runs upwards).
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (word | control | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64))) & HIGH
}

fn push(out: &mut [u8], end: &mut usize, bytes: &[u8]) {
    out[*end..*end + bytes.len()].copy_from_slice(bytes);
    *end += bytes.len();
}

fn push_char(out: &mut [u8], end: &mut usize, character: char) {
    push(out, end, character.encode_utf8(&mut [0; 4]).as_bytes());
}
