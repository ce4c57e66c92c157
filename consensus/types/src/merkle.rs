//! RFC 6962 Merkle trees: roots, inclusion and consistency proofs, and the compact frontier of a
//! growing log.
//!
//! A leaf hashes as `SHA-256(0x00 | data)`, an inner node as `SHA-256(0x01 | left | right)`, the
//! empty tree as `SHA-256("")`. A tree of n leaves splits at the largest power of two below n. The
//! transactions and outcomes of a block are such trees, and the chain's block hashes are one log.

use crate::hash::Hash;
use serde::{Deserialize, Serialize};

/// Hash of a leaf.
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash::of(&[&[0], data])
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// Root of the tree without leaves.
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// Why a Merkle proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not below the tree's size.
    #[error("leaf {index} lies outside a tree of {size}")]
    OutOfRange {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Nodes missing or left over.
    #[error("a proof of {found} nodes where {expected} are needed")]
    WrongLength {
        /// Nodes found.
        found: usize,
        /// Nodes needed.
        expected: usize,
    },
    /// The nodes lead to another root.
    #[error("the proof leads to another root")]
    WrongRoot,
    /// Leaves that are proven together and are not in ascending order of their indexes.
    #[error("the leaves are not in ascending order")]
    NotAscending,
}

/// Nodes from a leaf's sibling upward.
pub type Path = Vec<Hash>;

/// The size of the left subtree of a tree of `n` leaves: the largest power of two below `n`.
fn split(n: usize) -> usize {
    debug_assert!(n > 1);
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Root of the tree over these leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    if leaves.is_empty() {
        return empty_root();
    }
    // Level by level; a last node without a sibling moves up unchanged, which is RFC 6962's shape.
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                lone => lone[0],
            })
            .collect();
    }
    level[0]
}

/// The proof that leaf `index` is in the tree over these leaf hashes; `None` when out of range.
///
/// Costs one pass over the leaves. For many proofs of one tree use [`Tree`].
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Path> {
    Tree::new(leaves.to_vec()).inclusion_proof(index)
}

/// A tree with all its nodes, for many proofs.
#[derive(Debug, Clone)]
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over these leaf hashes.
    pub fn new(leaves: Vec<Hash>) -> Tree {
        let mut levels = vec![leaves];
        loop {
            let last = &levels[levels.len() - 1];
            if last.len() <= 1 {
                return Tree { levels };
            }
            let next = last
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node_hash(left, right),
                    lone => lone[0],
                })
                .collect();
            levels.push(next);
        }
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        self.levels[self.levels.len() - 1].first().copied().unwrap_or_else(empty_root)
    }

    /// The proof of leaf `index`; `None` when out of range.
    pub fn inclusion_proof(&self, index: usize) -> Option<Path> {
        if index >= self.levels[0].len() {
            return None;
        }
        let siblings = self.levels.iter().enumerate().map(|(height, level)| level.get((index >> height) ^ 1));
        Some(siblings.flatten().copied().collect())
    }

    /// The multiproof of several leaves, whose indexes ascend: the nodes that do not follow from the leaves, level
    /// by level from the leaves upward, in each by index. Of one leaf it is its inclusion proof. `None` when one is
    /// out of range, or they do not ascend.
    pub fn multiproof(&self, indexes: &[usize]) -> Option<Vec<Hash>> {
        let in_range = indexes.last().is_none_or(|last| *last < self.levels[0].len());
        if !in_range || !indexes.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut nodes = Vec::new();
        let mut known = indexes.to_vec();
        for level in &self.levels {
            let is_sibling_known = |at: usize| {
                let neighbour = if known[at] % 2 == 1 { at.checked_sub(1) } else { Some(at + 1) };
                neighbour.and_then(|at| known.get(at)) == Some(&(known[at] ^ 1))
            };
            let missing = (0..known.len()).filter(|at| !is_sibling_known(*at));
            nodes.extend(missing.filter_map(|at| level.get(known[at] ^ 1)));
            known.iter_mut().for_each(|index| *index /= 2);
            known.dedup();
        }
        Some(nodes)
    }
}

/// Checks that `leaf` is the leaf `index` of the tree of `size` leaves with this root.
///
/// # Errors
/// See [`ProofError`]. Too many nodes are refused like too few.
pub fn verify_inclusion(
    root: &Hash,
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    // Walks from the leaf to the root: `i` is the node's index in its level, `last` the level's last.
    let (mut i, mut last) = (index, size - 1);
    let mut nodes = path.iter();
    let mut hash = *leaf;
    let too_few = || ProofError::WrongLength { found: path.len(), expected: inclusion_length(index, size) };
    while last > 0 {
        if i % 2 == 1 {
            hash = node_hash(nodes.next().ok_or_else(too_few)?, &hash);
        } else if i < last {
            hash = node_hash(&hash, nodes.next().ok_or_else(too_few)?);
        }
        i /= 2;
        last /= 2;
    }
    if nodes.next().is_some() {
        return Err(too_few());
    }
    if hash == *root { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Checks that these are leaves of the tree of `size` leaves with this root, each with its index, ascending, by what
/// [`Tree::multiproof`] made. A node above several of them is hashed once. Of no leaves it shows
/// nothing, and holds if there is nothing in it.
///
/// # Errors
/// See [`ProofError`]. Too many nodes are refused like too few.
pub fn verify_multiproof(
    root: &Hash,
    leaves: &[(u64, Hash)],
    size: u64,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let left_over = |used: usize| ProofError::WrongLength { found: proof.len(), expected: used };
    let Some((index, _)) = leaves.last() else {
        return if proof.is_empty() { Ok(()) } else { Err(left_over(0)) };
    };
    if !leaves.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(ProofError::NotAscending);
    }
    if *index >= size {
        return Err(ProofError::OutOfRange { index: *index, size });
    }
    // From the leaves to the root, a level at a time: `last` is the index of the level's last node.
    let mut last = size - 1;
    let mut level = leaves.to_vec();
    let mut nodes = proof.iter();
    while last > 0 {
        let (mut read, mut written) = (0, 0);
        while let Some(&(index, hash)) = level.get(read) {
            read += 1;
            let mut missing = || nodes.next().ok_or(left_over(proof.len() + 1));
            let above = if index % 2 == 1 {
                node_hash(missing()?, &hash)
            } else if let Some((_, right)) = level.get(read).filter(|(next, _)| *next == index + 1) {
                read += 1;
                node_hash(&hash, right)
            } else if index < last {
                node_hash(&hash, missing()?)
            } else {
                hash
            };
            level[written] = (index / 2, above);
            written += 1;
        }
        level.truncate(written);
        last /= 2;
    }
    match nodes.len() {
        0 if level[0].1 == *root => Ok(()),
        0 => Err(ProofError::WrongRoot),
        unused => Err(left_over(proof.len() - unused)),
    }
}

fn inclusion_length(index: u64, size: u64) -> usize {
    let (mut i, mut last, mut length) = (index, size - 1, 0);
    while last > 0 {
        length += usize::from(i % 2 == 1 || i < last);
        i /= 2;
        last /= 2;
    }
    length
}

/// The proof that the tree over the first `old_size` of these leaves is a prefix of the tree over
/// all; `None` when `old_size` is larger than the tree.
pub fn consistency_proof(leaves: &[Hash], old_size: usize) -> Option<Path> {
    if old_size > leaves.len() {
        return None;
    }
    let mut path = Path::new();
    if old_size > 0 && old_size < leaves.len() {
        subproof(leaves, old_size, true, &mut path);
    }
    Some(path)
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn subproof(leaves: &[Hash], old_size: usize, whole: bool, path: &mut Path) {
    if old_size == leaves.len() {
        if !whole {
            path.push(root(leaves));
        }
        return;
    }
    let k = split(leaves.len());
    if old_size <= k {
        subproof(&leaves[..k], old_size, whole, path);
        path.push(root(&leaves[k..]));
    } else {
        subproof(&leaves[k..], old_size - k, false, path);
        path.push(root(&leaves[..k]));
    }
}

/// Checks that the tree of `old_size` leaves with root `old_root` is a prefix of the tree of
/// `new_size` leaves with root `new_root`.
///
/// # Errors
/// See [`ProofError`]. The empty tree is a prefix of every tree, with an empty proof.
pub fn verify_consistency(
    old_root: &Hash,
    old_size: u64,
    new_root: &Hash,
    new_size: u64,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange { index: old_size, size: new_size });
    }
    if old_size == new_size || old_size == 0 {
        let same = if old_size == 0 { *old_root == empty_root() } else { old_root == new_root };
        let same = same && (new_size > 0 || *new_root == empty_root());
        return match (path.len(), same) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofError::WrongRoot),
            (found, _) => Err(ProofError::WrongLength { found, expected: 0 }),
        };
    }
    // RFC 9162, section 2.1.4.2: a complete old tree is its own first node.
    let mut nodes = path.iter();
    let missing = ProofError::WrongLength { found: path.len(), expected: path.len() + 1 };
    let mut first = if old_size.is_power_of_two() { *old_root } else { *nodes.next().ok_or(missing)? };
    let (mut i, mut last) = (old_size - 1, new_size - 1);
    while i % 2 == 1 {
        i /= 2;
        last /= 2;
    }
    let mut second = first;
    for node in nodes {
        if last == 0 {
            return Err(ProofError::WrongLength { found: path.len(), expected: path.len() - 1 });
        }
        if i % 2 == 1 || i == last {
            first = node_hash(node, &first);
            second = node_hash(node, &second);
            while i % 2 == 0 && i != 0 {
                i /= 2;
                last /= 2;
            }
        } else {
            second = node_hash(&second, node);
        }
        i /= 2;
        last /= 2;
    }
    if last != 0 {
        return Err(missing);
    }
    if first == *old_root && second == *new_root { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// The complete subtrees of a growing log: all that is needed to append and to know the root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

/// A complete subtree of a log: its `2^level` leaves start at leaf `index * 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// Position among the nodes of its level.
    pub index: u64,
}

impl Frontier {
    /// The empty log.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// Leaves appended so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the parts fit together: one peak for each bit of the size. For frontiers read from
    /// disk.
    pub fn is_consistent(&self) -> bool {
        self.peaks.len() == self.size.count_ones() as usize
    }

    /// Appends a leaf, and returns every complete subtree that it completes, the leaf first. Storing
    /// those lets [`log_proof`] prove any leaf later.
    pub fn append(&mut self, leaf: Hash) -> Vec<(Node, Hash)> {
        let mut hash = leaf;
        let mut node = Node { level: 0, index: self.size };
        let mut completed = vec![(node, hash)];
        while node.index % 2 == 1 {
            let left = self.peaks.pop().expect("a set bit of the size has a peak");
            hash = node_hash(&left, &hash);
            node = Node { level: node.level + 1, index: node.index / 2 };
            completed.push((node, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        completed
    }

    /// The root of the log.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(smallest) => peaks.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

/// The inclusion proof of leaf `index` in the log of `size` leaves, from its stored complete
/// subtrees, in O(log size) look-ups. `None` when out of range or a node is missing.
pub fn log_proof(index: u64, size: u64, node: impl Fn(Node) -> Option<Hash>) -> Option<Path> {
    if index >= size {
        return None;
    }
    let mut path = Path::new();
    let (mut i, mut last, mut level) = (index, size - 1, 0u8);
    while last > 0 {
        if i % 2 == 1 {
            path.push(log_node(Node { level, index: i - 1 }, size, &node)?);
        } else if i < last {
            path.push(log_node(Node { level, index: i + 1 }, size, &node)?);
        }
        i /= 2;
        last /= 2;
        level += 1;
    }
    Some(path)
}

/// A node of the tree of `size` leaves: stored when complete, else put together from its parts.
fn log_node(at: Node, size: u64, stored: &impl Fn(Node) -> Option<Hash>) -> Option<Hash> {
    let start = at.index << at.level;
    if start + (1 << at.level) <= size {
        return stored(at);
    }
    let left = Node { level: at.level.checked_sub(1)?, index: at.index * 2 };
    let right = Node { level: left.level, index: left.index + 1 };
    let left_hash = log_node(left, size, stored)?;
    if right.index << right.level >= size {
        return Some(left_hash);
    }
    Some(node_hash(&left_hash, &log_node(right, size, stored)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_le_bytes())).collect()
    }

    /// RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let k = (0..).map(|e| 1usize << e).take_while(|k| *k < n).last().expect("n > 1");
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    #[test]
    fn root_is_the_definition() {
        for n in 0..70 {
            assert_eq!(root(&leaves(n)), mth(&leaves(n)), "{n} leaves");
            assert_eq!(Tree::new(leaves(n)).root(), mth(&leaves(n)), "{n} leaves");
        }
    }

    /// Else a leaf could be shown in the place of a whole subtree, and a tree of two as a tree of one.
    #[test]
    fn no_leaf_passes_for_a_node() {
        let all = leaves(2);
        let (left, right) = (all[0], all[1]);
        assert_ne!(leaf_hash(&[left.0, right.0].concat()), node_hash(&left, &right));
        assert_ne!(leaf_hash(b""), empty_root());
        // Nor does a tree with its last leaf doubled have the same root (CVE-2012-2459).
        for n in 1..20 {
            let doubled = [leaves(n), leaves(n)[n - 1..].to_vec()].concat();
            assert_ne!(root(&doubled), root(&leaves(n)), "{n}");
        }
    }

    #[test]
    fn frontier_and_log_agree_with_the_tree() {
        let mut frontier = Frontier::new();
        let mut stored = BTreeMap::new();
        for n in 0..70usize {
            let all = leaves(n);
            assert_eq!(frontier.root(), root(&all));
            assert!(frontier.is_consistent());
            for i in 0..n {
                let proof = log_proof(i as u64, n as u64, |node| stored.get(&node).copied());
                assert_eq!(proof, inclusion_proof(&all, i), "{i} of {n}");
            }
            stored.extend(frontier.append(leaf_hash(&n.to_le_bytes())));
        }
    }

    #[test]
    fn one_leaf_alone_has_the_same_proof_and_none_has_an_empty_one() {
        for n in 1..40usize {
            let all = leaves(n);
            let tree = Tree::new(all.clone());
            for i in 0..n {
                assert_eq!(tree.multiproof(&[i]), tree.inclusion_proof(i), "{i} of {n}");
            }
            let everything: Vec<usize> = (0..n).collect();
            assert_eq!(tree.multiproof(&everything), Some(Vec::new()));
            assert_eq!(tree.multiproof(&[]), Some(Vec::new()));
            assert_eq!(tree.multiproof(&[0, n]), None, "out of range");
            assert_eq!(tree.multiproof(&[0, 0]), None, "twice");
            assert_eq!(verify_multiproof(&Hash::ZERO, &[], n as u64, &[]), Ok(()));
            let said = verify_multiproof(&Hash::ZERO, &[], n as u64, &all[..1]);
            assert_eq!(said, Err(ProofError::WrongLength { found: 1, expected: 0 }));
        }
    }

    proptest! {
        #[test]
        fn inclusion_proofs_hold_and_nothing_else_does(n in 1usize..200, seed: u64, flip: usize) {
            let all = leaves(n);
            let i = usize::try_from(seed % n as u64).expect("below n");
            let path = inclusion_proof(&all, i).expect("in range");
            let size = n as u64;
            let top = root(&all);
            prop_assert_eq!(verify_inclusion(&top, &all[i], i as u64, size, &path), Ok(()));
            prop_assert!(verify_inclusion(&top, &all[i], (i as u64 + 1) % (size + 1), size, &path).is_err());
            prop_assert!(verify_inclusion(&top, &leaf_hash(b"other"), i as u64, size, &path).is_err());
            let longer = [path.clone(), vec![top]].concat();
            prop_assert!(verify_inclusion(&top, &all[i], i as u64, size, &longer).is_err());
            if !path.is_empty() {
                prop_assert!(verify_inclusion(&top, &all[i], i as u64, size, &path[1..]).is_err());
                let mut bent = path.clone();
                bent[flip % path.len()].0[flip % 32] ^= 1;
                prop_assert!(verify_inclusion(&top, &all[i], i as u64, size, &bent).is_err());
            }
        }

        #[test]
        fn leaves_are_proven_together_and_nothing_else_is(
            n in 1usize..200,
            chosen in proptest::collection::btree_set(0usize..200, 1..40),
            which: usize,
            flip: usize,
        ) {
            let all = leaves(n);
            let (tree, top, size) = (Tree::new(all.clone()), root(&all), n as u64);
            let chosen: Vec<usize> = chosen.into_iter().filter(|index| *index < n).collect();
            let proof = tree.multiproof(&chosen).expect("in range, ascending");
            let named: Vec<(u64, Hash)> = chosen.iter().map(|index| (*index as u64, all[*index])).collect();
            prop_assert_eq!(verify_multiproof(&top, &named, size, &proof), Ok(()));
            let alone: usize = chosen.iter().map(|index| tree.inclusion_proof(*index).unwrap().len()).sum();
            prop_assert!(proof.len() <= alone);
            let longer = [proof.clone(), vec![top]].concat();
            prop_assert!(verify_multiproof(&top, &named, size, &longer).is_err());
            if !proof.is_empty() {
                prop_assert!(verify_multiproof(&top, &named, size, &proof[1..]).is_err());
                let mut bent = proof.clone();
                bent[flip % proof.len()].0[flip % 32] ^= 1;
                prop_assert!(verify_multiproof(&top, &named, size, &bent).is_err());
            }
            if let Some(which) = which.checked_rem(named.len()) {
                let with = |leaf: (u64, Hash)| {
                    let mut false_named = named.clone();
                    false_named[which] = leaf;
                    verify_multiproof(&top, &false_named, size, &proof)
                };
                let (index, hash) = named[which];
                prop_assert!(with((index, leaf_hash(b"other"))).is_err());
                prop_assert!(with((index ^ 1, hash)).is_err());
                prop_assert!(with((size, hash)).is_err());
                let twice = [&named[..=which], &named[which..]].concat();
                prop_assert_eq!(verify_multiproof(&top, &twice, size, &proof), Err(ProofError::NotAscending));
            }
        }

        #[test]
        fn consistency_proofs_hold_and_nothing_else_does(n in 1usize..200, seed: u64, flip: usize) {
            let all = leaves(n);
            let m = usize::try_from(seed % (n as u64 + 1)).expect("at most n");
            let (old, new) = (root(&all[..m]), root(&all));
            let path = consistency_proof(&all, m).expect("in range");
            let check = |path: &[Hash]| verify_consistency(&old, m as u64, &new, n as u64, path);
            prop_assert_eq!(check(&path), Ok(()));
            prop_assert!(check(&[path.clone(), vec![new]].concat()).is_err());
            if !path.is_empty() {
                prop_assert!(check(&path[1..]).is_err());
                prop_assert!(check(&path[..path.len() - 1]).is_err());
                let mut bent = path.clone();
                bent[flip % path.len()].0[flip % 32] ^= 1;
                prop_assert!(check(&bent).is_err());
            }
        }
    }
}
