//! New inputs out of old ones, by a seed.
//!
//! The mutator knows the canonical encoding: numbers of fixed width, lists and texts behind a `u64`
//! length, enums behind a small `u32`. So beside flipping bits it finds what may be a length and makes it
//! huge, or one more or less; puts numbers at the ends of their ranges; moves pieces between two inputs.
//! In texts it does the same to decimal numbers and lines.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::ops::Range;

/// The longest input it makes, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Numbers at which code tends to break.
const BOUNDARIES: [u64; 17] = [
    0,
    1,
    2,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    u16::MAX as u64,
    1 << 20,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// What a parser of text may stumble over.
const TOKENS: [&str; 20] = [
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "\"",
    "'''",
    "\"\"\"",
    "\\u0000",
    "\\",
    "=",
    ".",
    "#",
    "\r\n",
    "-1",
    "1e999",
    "nan",
    "\u{feff}",
    "\u{10ffff}",
];

/// The input that this seed makes of `input`; pieces may come from `others`.
pub fn mutate(seed: u64, input: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        let is_text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains('\0'));
        if is_text && dice.below(2) == 0 {
            change_text(&mut dice, &mut bytes);
        } else {
            change(&mut dice, &mut bytes, others);
        }
        bytes.truncate(MAX_BYTES.max(input.len()));
    }
    bytes
}

struct Dice(ChaCha8Rng);

impl Dice {
    /// A number below `n`; 0 if there is none.
    fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        usize::try_from(self.0.next_u64() % n).unwrap_or(0)
    }

    /// A range within so many bytes; rarely a long one.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length);
        let most = if self.below(4) == 0 { length - start } else { (length - start).min(40) };
        start..start + self.below(most + 1)
    }

    fn number(&mut self, near: usize) -> u64 {
        match self.below(4) {
            0 => (near as u64).wrapping_add(self.below(3) as u64).wrapping_sub(1),
            1 => self.0.next_u64() >> self.below(64),
            _ => BOUNDARIES[self.below(BOUNDARIES.len())],
        }
    }
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let length = bytes.len();
    match dice.below(12) {
        0 | 1 => {
            let (at, bit) = (dice.below(length), dice.below(8));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        2 => bytes.truncate(dice.below(length + 1)),
        3 => {
            let more = dice.below(64) + 1;
            let fill = if dice.below(2) == 0 { 0 } else { 0xff };
            bytes.resize(length + more, fill);
        }
        4 | 5 => change_length(dice, bytes),
        6 | 7 => {
            let width = [1, 2, 4, 8, 16][dice.below(5)];
            let at = dice.below(length);
            let number = u128::from(dice.number(length));
            let number = if dice.below(8) == 0 { u128::MAX } else { number };
            for (byte, new) in bytes.iter_mut().skip(at).take(width).zip(number.to_le_bytes()) {
                *byte = new;
            }
        }
        8 => {
            let range = dice.range(length);
            bytes.drain(range);
        }
        9 => {
            let (range, at) = (dice.range(length), dice.below(length + 1));
            let piece = bytes[range].to_vec();
            bytes.splice(at..at, piece);
        }
        10 => {
            let other = others.get(dice.below(others.len()));
            splice(dice, bytes, other.map_or(&[], |other| other));
        }
        _ => {
            // The same piece again and again: lists with every element alike.
            let range = dice.range(length);
            let (at, times) = (range.end, dice.below(16));
            let piece = bytes[range].repeat(times);
            bytes.splice(at..at, piece);
        }
    }
}

/// A piece of another input in the place of one of this; or the start of one and the end of the other.
fn splice(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let into = dice.range(bytes.len());
    if dice.below(2) == 0 {
        let from = dice.range(other.len());
        bytes.splice(into, other[from].iter().copied());
    } else {
        bytes.truncate(into.start);
        bytes.extend_from_slice(&other[into.start.min(other.len())..]);
    }
}

/// Finds what may be the length of a list or text, and changes it.
fn change_length(dice: &mut Dice, bytes: &mut [u8]) {
    let is_length = |at: usize| {
        let number = bytes[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        number.is_some_and(|number| number > 0 && number <= (bytes.len() - at) as u64)
    };
    let lengths: Vec<usize> = (0..bytes.len()).filter(|at| is_length(*at)).collect();
    let Some(at) = lengths.get(dice.below(lengths.len())).copied() else { return };
    let old = bytes[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let new = match dice.below(5) {
        0 => old + 1,
        1 => old - 1,
        2 => u64::MAX,
        3 => 1 << (20 + dice.below(43)),
        _ => (bytes.len() - at) as u64,
    };
    bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
}

fn change_text(dice: &mut Dice, bytes: &mut Vec<u8>) {
    match dice.below(5) {
        0 => change_decimal(dice, bytes),
        1 => {
            let at = dice.below(bytes.len() + 1);
            let token = TOKENS[dice.below(TOKENS.len())].as_bytes();
            let times = if dice.below(8) == 0 { 1 + dice.below(400) } else { 1 };
            bytes.splice(at..at, token.repeat(times));
        }
        2 | 3 => {
            let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            let (one, two) = (dice.below(lines.len()), dice.below(lines.len()));
            if lines.is_empty() {
                return;
            }
            match dice.below(3) {
                0 => drop(lines.remove(one)),
                1 => lines.insert(two, lines[one]),
                _ => lines.swap(one, two),
            }
            *bytes = lines.concat();
        }
        _ => {
            // Another case or kind of a letter.
            let at = dice.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if byte.is_ascii_alphabetic() { *byte ^ 0x20 } else { b'a' + *byte % 26 };
            }
        }
    }
}

/// Puts another number in the place of a decimal one.
fn change_decimal(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit()))
        .collect();
    let Some(start) = starts.get(dice.below(starts.len())).copied() else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let new = match dice.below(6) {
        0 => u128::MAX.to_string(),
        1 => format!("-{}", dice.number(0)),
        2 => format!("0{}", dice.number(0)),
        _ => dice.number(0).to_string(),
    };
    bytes.splice(start..start + digits, new.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_makes_one_input_and_seeds_make_many() {
        let input = [&5u64.to_le_bytes()[..], b"hello, and more"].concat();
        let others = vec![b"another".to_vec()];
        let made: BTreeSet<Vec<u8>> = (0..2000).map(|seed| mutate(seed, &input, &others)).collect();
        assert!(made.len() > 1000, "{}", made.len());
        assert!((0..50).all(|seed| mutate(seed, &input, &others) == mutate(seed, &input, &others)));
        for seed in 0..2000 {
            assert!(mutate(seed, b"", &[]).len() <= MAX_BYTES, "nothing to change is no error");
            mutate(seed, b"a = 1\nb = [2, 3]\n", &others);
        }
        let bombs = made.iter().filter(|bytes| bytes.starts_with(&u64::MAX.to_le_bytes()));
        assert!(bombs.count() > 5, "the length was found and made huge");
    }
}
