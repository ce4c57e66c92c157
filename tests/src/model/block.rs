//! Blocks of the model, by what tells them apart.

use std::fmt;

/// A block, named by the chain that leads to it: at each height the view its header names, and which
/// of the blocks that view's leader might propose there it is. One half-byte for each height, the
/// block's own last, so that the parent, the height and the header's view need no table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Block(u16);

impl Block {
    /// Height 0.
    pub const GENESIS: Block = Block(0);

    /// The block that extends this one, proposed first in `view`, of two choices.
    ///
    /// # Panics
    /// Above height 4, from view 4 on, or with a third choice: the name has no room for it.
    #[must_use]
    pub fn child(self, view: u8, choice: u8) -> Block {
        assert!(self.height() < 4 && view < 4 && choice < 2, "within what a name can say");
        Block(self.0 << 4 | 8 | u16::from(view) << 1 | u16::from(choice))
    }

    /// How many blocks lie below, genesis among them.
    pub fn height(self) -> u8 {
        // Every half-byte in use has its highest bit set.
        match self.0 {
            0 => 0,
            0x1..=0xf => 1,
            0x10..=0xff => 2,
            0x100..=0xfff => 3,
            _ => 4,
        }
    }

    /// The block it extends; genesis for genesis.
    #[must_use]
    pub fn parent(self) -> Block {
        Block(self.0 >> 4)
    }

    /// The block of its chain at `height`, at most its own.
    #[must_use]
    pub fn at(self, height: u8) -> Block {
        let above = self.height().checked_sub(height).expect("at or below the block");
        // Shifting out all sixteen bits is genesis.
        Block(self.0.checked_shr(4 * u32::from(above)).unwrap_or(0))
    }

    /// Whether `other` is on its chain, or the block itself.
    pub fn descends_from(self, other: Block) -> bool {
        self.height() >= other.height() && self.at(other.height()) == other
    }

    /// The view its header names: where it was first proposed.
    pub fn header_view(self) -> u8 {
        match self.0 >> 1 & 3 {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 3,
        }
    }
}

/// `a0.b1`: at height 1 choice a of view 0, on it choice b of view 1.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Block::GENESIS {
            return f.write_str("genesis");
        }
        if self.parent() != Block::GENESIS {
            write!(f, "{}.", self.parent())?;
        }
        write!(f, "{}{}", if self.0 & 1 == 0 { 'a' } else { 'b' }, self.header_view())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A few blocks at one height: what one replica voted on in one view, or what was prepared in it. One
/// block, or none, as long as the rules hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Blocks<const N: usize>([Block; N]);

impl<const N: usize> Default for Blocks<N> {
    fn default() -> Blocks<N> {
        Blocks([Block::GENESIS; N])
    }
}

impl<const N: usize> Blocks<N> {
    /// Those blocks.
    pub fn iter(&self) -> impl Iterator<Item = Block> + use<N> {
        self.0.into_iter().take_while(|block| *block != Block::GENESIS)
    }

    /// Whether `block` is one of them.
    pub fn contains(&self, block: Block) -> bool {
        self.iter().any(|other| other == block)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0[0] == Block::GENESIS
    }

    /// Adds one; sorted, as the order has no meaning.
    ///
    /// # Panics
    /// When there is no room.
    pub fn insert(&mut self, block: Block) {
        if !self.contains(block) {
            let count = self.len();
            self.0[count] = block;
            self.0[..=count].sort_unstable();
        }
    }
}
