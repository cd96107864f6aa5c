//! Where a step works: a JSON pointer (RFC 6901) in which the segment `[*]` is every element of an array, and `{*}` every
//! member of an object.

use std::fmt;

use super::tree::{Tree, kind};
use crate::value::{Pointer, array_index};

const EACH_ELEMENT: &str = "[*]";
const EACH_MEMBER: &str = "{*}";

/// A pointer with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Name(String),
    Element,
    Member,
}

/// Which elements and members the wildcards of a path stand for, in their order.
pub(super) type Bindings = Vec<usize>;

impl Path {
    /// # Errors
    /// A sentence saying what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let pointer = Pointer::parse(text)?;
        let segment = |name: &String| match name.as_str() {
            EACH_ELEMENT => Segment::Element,
            EACH_MEMBER => Segment::Member,
            _ => Segment::Name(name.clone()),
        };
        Ok(Self { text: text.to_owned(), segments: pointer.segments().iter().map(segment).collect() })
    }

    pub(super) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// The path of what contains it, and its name there; `None` for the root and for a wildcard at the end.
    pub(super) fn split_last(&self) -> Option<(Path, &str)> {
        let (last, parents) = self.segments.split_last()?;
        let Segment::Name(name) = last else { return None };
        let end = self.text.rfind('/')?;
        Some((Path { text: self.text[..end].to_owned(), segments: parents.to_vec() }, name))
    }

    /// How many wildcards it has.
    pub(super) fn wildcards(&self) -> usize {
        self.segments.iter().filter(|segment| !matches!(segment, Segment::Name(_))).count()
    }

    /// How many of its wildcards are also those of `other`: the ones before which both paths are the same.
    pub(super) fn shared_wildcards(&self, other: &Path) -> usize {
        let same = self.segments.iter().zip(&other.segments).take_while(|(left, right)| left == right);
        same.filter(|(segment, _)| !matches!(segment, Segment::Name(_))).count()
    }

    /// Whether what is at `other` is inside of what is at it, or it itself.
    pub(super) fn contains(&self, other: &Path) -> bool {
        other.segments.starts_with(&self.segments)
    }

    /// All that the wildcards can stand for in `tree`, where the first of them stand for `bound`.
    ///
    /// What comes behind the last wildcard need not be there.
    pub(super) fn bindings(&self, tree: &Tree, bound: &[usize]) -> Vec<Bindings> {
        let mut found = Vec::new();
        expand(&self.segments, Some(tree), bound, &mut Vec::new(), &mut found);
        found
    }

    pub(super) fn get<'t>(&self, tree: &'t Tree, bindings: &[usize]) -> Option<&'t Tree> {
        let mut bindings = bindings.iter();
        self.segments.iter().try_fold(tree, |tree, segment| match (segment, tree) {
            (Segment::Name(name), _) => tree.child(name),
            (Segment::Element, Tree::Array(elements)) => elements.get(*bindings.next()?),
            (Segment::Member, Tree::Object(members)) => members.get(*bindings.next()?).map(|(_, value)| value),
            _ => None,
        })
    }

    pub(super) fn get_mut<'t>(&self, tree: &'t mut Tree, bindings: &[usize]) -> Option<&'t mut Tree> {
        let mut bindings = bindings.iter();
        self.segments.iter().try_fold(tree, |tree, segment| match (segment, tree) {
            (Segment::Name(name), tree) => tree.child_mut(name),
            (Segment::Element, Tree::Array(elements)) => elements.get_mut(*bindings.next()?),
            (Segment::Member, Tree::Object(members)) => members.get_mut(*bindings.next()?).map(|(_, value)| value),
            _ => None,
        })
    }

    /// Takes the value out of what contains it; `None` if it is not there.
    pub(super) fn remove(&self, tree: &mut Tree, bindings: &[usize]) -> Option<Tree> {
        let (last, parents) = self.segments.split_last()?;
        let parents = Path { text: String::new(), segments: parents.to_vec() };
        let parent = parents.get_mut(tree, bindings)?;
        match (last, parent) {
            (Segment::Name(name), Tree::Object(members)) => {
                let at = members.iter().position(|(key, _)| key == name)?;
                Some(members.remove(at).1)
            }
            (Segment::Name(name), Tree::Array(elements)) => {
                let at = array_index(name).filter(|at| *at < elements.len())?;
                Some(elements.remove(at))
            }
            (Segment::Element, Tree::Array(elements)) => {
                let at = bindings.last().filter(|at| **at < elements.len())?;
                Some(elements.remove(*at))
            }
            (Segment::Member, Tree::Object(members)) => {
                let at = bindings.last().filter(|at| **at < members.len())?;
                Some(members.remove(*at).1)
            }
            _ => None,
        }
    }

    /// Puts `value` there: in the place of what is there, or as the last member of the object that contains it. Objects that
    /// lack on the way are made.
    ///
    /// # Errors
    /// The kind of what stands where an object was needed.
    pub(super) fn put(&self, tree: &mut Tree, bindings: &[usize], value: Tree) -> Result<(), &'static str> {
        let mut bindings = bindings.iter();
        let mut at = tree;
        for segment in &self.segments {
            at = match (segment, at) {
                (Segment::Name(name), Tree::Object(members)) => {
                    let position = members.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
                        members.push((name.into(), Tree::Object(Vec::new())));
                        members.len() - 1
                    });
                    &mut members[position].1
                }
                (Segment::Name(name), Tree::Array(elements)) => {
                    array_index(name).and_then(|index| elements.get_mut(index)).ok_or(kind::ARRAY)?
                }
                (Segment::Element, Tree::Array(elements)) => {
                    bindings.next().and_then(|index| elements.get_mut(*index)).ok_or(kind::ARRAY)?
                }
                (Segment::Member, Tree::Object(members)) => {
                    &mut bindings.next().and_then(|index| members.get_mut(*index)).ok_or(kind::OBJECT)?.1
                }
                (_, other) => return Err(other.kind()),
            };
        }
        *at = value;
        Ok(())
    }
}

fn expand(
    segments: &[Segment],
    tree: Option<&Tree>,
    bound: &[usize],
    bindings: &mut Bindings,
    found: &mut Vec<Bindings>,
) {
    // Whatever is not there has no elements either.
    let Some((at, segment)) = segments.iter().enumerate().find(|(_, segment)| !matches!(segment, Segment::Name(_)))
    else {
        found.push(bindings.clone());
        return;
    };
    let names = segments[..at].iter().map(|segment| match segment {
        Segment::Name(name) => name.as_str(),
        _ => unreachable!("the first wildcard comes behind them"),
    });
    let container = tree.and_then(|tree| names.clone().try_fold(tree, |tree, name| tree.child(name)));
    let count = match (segment, container) {
        (Segment::Element, Some(Tree::Array(elements))) => elements.len(),
        (Segment::Member, Some(Tree::Object(members))) => members.len(),
        _ => 0,
    };
    let range = match bound.get(bindings.len()) {
        Some(index) if *index < count => *index..*index + 1,
        Some(_) => 0..0,
        None => 0..count,
    };
    for index in range {
        let inside = match container {
            Some(Tree::Array(elements)) => elements.get(index),
            Some(Tree::Object(members)) => members.get(index).map(|(_, value)| value),
            _ => None,
        };
        bindings.push(index);
        expand(&segments[at + 1..], inside, bound, bindings, found);
        bindings.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "the whole body" } else { &self.text })
    }
}

impl Path {
    /// The pointer as it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let leg = |name: &str| Tree::Object(vec![("from".into(), Tree::Text(name.into()))]);
        let legs = |names: &[&str]| Tree::Array(names.iter().map(|name| leg(name)).collect());
        let trip = |names: &[&str]| Tree::Object(vec![("legs".into(), legs(names))]);
        Tree::Object(vec![
            ("trips".into(), Tree::Array(vec![trip(&["A", "B"]), trip(&[]), trip(&["C"])])),
            ("by_id".into(), Tree::Object(vec![("x".into(), leg("D")), ("y".into(), Tree::Null)])),
        ])
    }

    fn bindings(text: &str, bound: &[usize]) -> Vec<Bindings> {
        Path::parse(text).expect("a path").bindings(&tree(), bound)
    }

    #[test]
    fn wildcards_stand_for_every_element_and_member() {
        assert_eq!(bindings("/trips/[*]/legs/[*]/from", &[]), [vec![0, 0], vec![0, 1], vec![2, 0]]);
        assert_eq!(bindings("/trips/[*]/legs/[*]/from", &[2]), [vec![2, 0]]);
        assert_eq!(bindings("/trips/[*]/none", &[]), [vec![0], vec![1], vec![2]]);
        assert_eq!(bindings("/by_id/{*}/from", &[]), [vec![0], vec![1]]);
        assert!(bindings("/by_id/[*]", &[]).is_empty() && bindings("/none/[*]", &[]).is_empty());
        assert_eq!(bindings("/trips/0/none", &[]), [Vec::<usize>::new()]);
    }

    #[test]
    fn a_value_is_found_taken_and_put() {
        let mut tree = tree();
        let path = Path::parse("/trips/[*]/legs/[*]/from").expect("a path");
        assert_eq!(path.get(&tree, &[2, 0]), Some(&Tree::Text("C".into())));
        assert_eq!(path.remove(&mut tree, &[2, 0]), Some(Tree::Text("C".into())));
        assert_eq!(path.remove(&mut tree, &[2, 0]), None);
        let other = Path::parse("/a/b/c").expect("a path");
        assert_eq!(other.put(&mut tree, &[], Tree::Null), Ok(()));
        assert_eq!(other.get(&tree, &[]), Some(&Tree::Null));
        assert_eq!(Path::parse("/by_id/y/z").expect("a path").put(&mut tree, &[], Tree::Null), Err("null"));
    }

    #[test]
    fn paths_share_the_wildcards_before_which_they_are_the_same() {
        let shared = |left: &str, right: &str| {
            Path::parse(left).expect("a path").shared_wildcards(&Path::parse(right).expect("a path"))
        };
        assert_eq!(shared("/trips/[*]/legs/[*]/from", "/trips/[*]/legs/[*]/to"), 2);
        assert_eq!(shared("/trips/[*]/legs/[*]/from", "/trips/[*]/kind"), 1);
        assert_eq!(shared("/trips/[*]/from", "/legs/[*]/from"), 0);
    }
}
