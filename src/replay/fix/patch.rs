//! JSON Patch (RFC 6902) on a tree.

use std::fmt;

use super::shown;
use super::tree::{DEPTH_MAX, Tree, kind, pointer};
use crate::value::{Pointer, array_index};

/// What all copies of one patch may add up to, in bytes: copying a document into itself doubles it each time.
const COPIED_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Add { path: Pointer, value: Tree },
    Remove { path: Pointer },
    Replace { path: Pointer, value: Tree },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: Tree },
}

/// Why an operation cannot be done: where, what was needed, and the kind of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub path: String,
    pub expected: &'static str,
    pub actual: &'static str,
}

const PRESENT: &str = "value";

impl Operation {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Operation::Add { .. } => "add",
            Operation::Remove { .. } => "remove",
            Operation::Replace { .. } => "replace",
            Operation::Move { .. } => "move",
            Operation::Copy { .. } => "copy",
            Operation::Test { .. } => "test",
        }
    }
}

/// Does the operations in their order; on an error, with the position of the one that cannot be done, `tree` is worth
/// nothing.
pub(super) fn apply(operations: &[Operation], tree: &mut Tree) -> Result<(), (usize, Refusal)> {
    let mut copied = 0;
    for (position, operation) in operations.iter().enumerate() {
        operation.apply(tree, &mut copied).map_err(|refusal| (position, refusal))?;
    }
    Ok(())
}

impl Operation {
    fn apply(&self, tree: &mut Tree, copied: &mut usize) -> Result<(), Refusal> {
        match self {
            Operation::Add { path, value } => add(tree, path, value.clone()),
            Operation::Remove { path } => remove(tree, path).map(drop),
            Operation::Replace { path, value } => {
                *find_mut(tree, path.segments()).ok_or_else(|| refused(path, PRESENT, kind::MISSING))? = value.clone();
                too_deep(tree, path)
            }
            Operation::Move { from, path } => {
                // RFC 6902, section 4.4. To itself it does nothing, but it must be there.
                if path.segments().len() > from.segments().len() && path.segments().starts_with(from.segments()) {
                    return Err(refused(path, "place outside of what is moved", "place inside of it"));
                }
                let value = match from.segments().is_empty() {
                    true => std::mem::replace(tree, Tree::Null),
                    false => remove(tree, from)?,
                };
                add(tree, path, value)
            }
            Operation::Copy { from, path } => {
                let value = find(tree, from.segments()).ok_or_else(|| refused(from, PRESENT, kind::MISSING))?;
                *copied = copied.saturating_add(value.bytes());
                if *copied > COPIED_BYTES_MAX {
                    return Err(refused(path, "copies of at most 64 MiB", "more"));
                }
                let value = value.clone();
                add(tree, path, value)
            }
            Operation::Test { path, value } => match find(tree, path.segments()) {
                None => Err(refused(path, PRESENT, kind::MISSING)),
                Some(there) if there.same(value) => Ok(()),
                Some(there) if there.kind() == value.kind() => Err(refused(path, "value of the test", "another value")),
                Some(there) => Err(refused(path, value.kind(), there.kind())),
            },
        }
    }
}

fn refused(path: &Pointer, expected: &'static str, actual: &'static str) -> Refusal {
    Refusal { path: pointer(path.segments().iter().map(String::as_str)), expected, actual }
}

fn find<'t>(tree: &'t Tree, segments: &[String]) -> Option<&'t Tree> {
    segments.iter().try_fold(tree, |tree, segment| tree.child(segment))
}

fn find_mut<'t>(tree: &'t mut Tree, segments: &[String]) -> Option<&'t mut Tree> {
    segments.iter().try_fold(tree, |tree, segment| tree.child_mut(segment))
}

fn too_deep(tree: &Tree, path: &Pointer) -> Result<(), Refusal> {
    match tree.depth() > DEPTH_MAX {
        true => Err(refused(path, "at most 512 levels", "more")),
        false => Ok(()),
    }
}

/// RFC 6902, section 4.1.
fn add(tree: &mut Tree, path: &Pointer, value: Tree) -> Result<(), Refusal> {
    let Some((name, parents)) = path.segments().split_last() else {
        *tree = value;
        return too_deep(tree, path);
    };
    match find_mut(tree, parents) {
        Some(Tree::Object(members)) => match members.iter_mut().find(|(there, _)| there == name) {
            Some((_, there)) => *there = value,
            None => members.push((name.into(), value)),
        },
        Some(Tree::Array(elements)) => {
            let at = match name.as_str() {
                "-" => Some(elements.len()),
                name => array_index(name).filter(|at| *at <= elements.len()),
            };
            elements.insert(at.ok_or_else(|| refused(path, "index within the array", "another"))?, value);
        }
        Some(other) => return Err(refused(path, "object or array around it", other.kind())),
        None => return Err(refused(path, "object or array around it", kind::MISSING)),
    }
    too_deep(tree, path)
}

fn remove(tree: &mut Tree, path: &Pointer) -> Result<Tree, Refusal> {
    let missing = || refused(path, PRESENT, kind::MISSING);
    let Some((name, parents)) = path.segments().split_last() else {
        return Err(refused(path, "place within the body", "whole body"));
    };
    match find_mut(tree, parents).ok_or_else(missing)? {
        Tree::Object(members) => {
            let at = members.iter().position(|(there, _)| there == name).ok_or_else(missing)?;
            Ok(members.remove(at).1)
        }
        Tree::Array(elements) => {
            let at = array_index(name).filter(|at| *at < elements.len()).ok_or_else(missing)?;
            Ok(elements.remove(at))
        }
        other => Err(refused(path, "object or array around it", other.kind())),
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |pointer: &Pointer| match pointer.as_str() {
            "" => "the whole body".to_owned(),
            text => text.to_owned(),
        };
        match self {
            Operation::Add { path, value } => write!(f, "add {} at {}", shown(value), name(path)),
            Operation::Remove { path } => write!(f, "remove {}", name(path)),
            Operation::Replace { path, value } => write!(f, "replace {} by {}", name(path), shown(value)),
            Operation::Move { from, path } => write!(f, "move {} to {}", name(from), name(path)),
            Operation::Copy { from, path } => write!(f, "copy {} to {}", name(from), name(path)),
            Operation::Test { path, value } => write!(f, "go on only if {} equals {}", name(path), shown(value)),
        }
    }
}
