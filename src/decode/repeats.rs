//! Names that one object holds twice. JSON leaves their meaning open (RFC 8259, section 4), so such an event is refused.

use simd_json::Node;

/// Objects of up to this many members are checked by fingerprints on the stack, larger ones by sorting.
const SMALL: usize = 64;

/// Whether the object whose contents begin at `contents` repeats one of its `members` names.
///
/// The cost is bounded for every input: small objects compare at most [`SMALL`] fingerprints a name, large ones are sorted.
#[inline]
pub(super) fn any(contents: &[Node<'_>], members: usize) -> bool {
    if members < 2 {
        return false;
    }
    if members > SMALL {
        return first(contents, members).is_some();
    }
    let mut seen = [0u32; SMALL];
    for (position, (_, name)) in names(contents, members).enumerate() {
        let fingerprint = fingerprint(name);
        // Two names may share a fingerprint; only then is it worth a closer look.
        if seen[..position].contains(&fingerprint) && first(contents, members).is_some() {
            return true;
        }
        seen[position] = fingerprint;
    }
    false
}

/// The index within `contents` of the first name that stood there before.
#[cold]
pub(super) fn first(contents: &[Node<'_>], members: usize) -> Option<usize> {
    let mut sorted: Vec<_> = names(contents, members).map(|(index, name)| (name, index)).collect();
    sorted.sort_unstable();
    sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min()
}

/// The names of an object with their indices, skipping over the values.
fn names<'n>(contents: &'n [Node<'n>], members: usize) -> impl Iterator<Item = (usize, &'n str)> {
    let mut at = 0;
    (0..members).map(move |_| {
        let Node::String(name) = contents[at] else {
            unreachable!("an object's contents alternate names and values");
        };
        let index = at;
        at += 1 + size(&contents[at + 1]);
        (index, name)
    })
}

/// Nodes that a value takes up, itself included.
pub(super) fn size(node: &Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => 1 + count,
        _ => 1,
    }
}

/// Mixes the length, the first and the last bytes: cheap, and equal for equal names, which is all that is asked of it.
#[inline]
fn fingerprint(name: &str) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = name.as_bytes();
    let mixed = if let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        u64::from_le_bytes(*head) ^ u64::from_le_bytes(*tail).rotate_left(29)
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) << 32 | u64::from(u32::from_le_bytes(*tail))
    } else {
        bytes.iter().fold(0, |mixed, byte| mixed << 8 | u64::from(*byte))
    };
    ((mixed ^ bytes.len() as u64).wrapping_mul(ODD) >> 32) as u32
}
