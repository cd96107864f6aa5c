//! What a JSON Schema lets a value be, as far as columns care: a set of types, and for each what is known of it.
//!
//! A shape is an over-approximation: every value the schema accepts has it. So schemas that hold together ([`Shape::meet`],
//! for `allOf`) narrow it, and alternatives ([`Shape::join`], for `anyOf`) widen it.

use std::fmt;

/// A set of JSON types. Integers and numbers with a fraction are apart, as `number` is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Types = Types(0);
    pub(super) const NULL: Types = Types(1);
    pub(super) const BOOLEAN: Types = Types(2);
    pub(super) const INTEGER: Types = Types(4);
    pub(super) const FRACTION: Types = Types(8);
    pub(super) const NUMBER: Types = Types(4 | 8);
    pub(super) const STRING: Types = Types(16);
    pub(super) const ARRAY: Types = Types(32);
    pub(super) const OBJECT: Types = Types(64);
    pub(super) const ALL: Types = Types(127);

    pub(super) fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(super) fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    pub(super) fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn any_of(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it has a type, and all it has are in `other`.
    pub(super) fn within(self, other: Types) -> bool {
        !self.is_empty() && self.without(other).is_empty()
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            if self.any_of(Types::FRACTION) { (Types::FRACTION, "number") } else { (Types::INTEGER, "integer") };
        let names = [
            (Types::NULL, "null"),
            (Types::BOOLEAN, "boolean"),
            number,
            (Types::STRING, "string"),
            (Types::ARRAY, "array"),
            (Types::OBJECT, "object"),
        ];
        let present: Vec<_> = names.iter().filter(|(types, _)| self.any_of(*types)).map(|(_, name)| *name).collect();
        f.write_str(&present.join(" or "))
    }
}

/// What is known of a value's strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Plain,
    DateTime,
    /// The same, where instants finer than a column holds are to be kept beside it.
    FinerDateTime,
    Date,
}

/// An asked-for decimal: at most 38 digits, `scale` of them after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: u8,
    pub(super) scale: i8,
}

/// What is known of an array's elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    Anything,
    Of(Box<Shape>),
}

/// Whether an object may have fields beside those declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opening {
    /// No.
    Closed,
    /// Yes, and those are not of its columns: `x-parqueduct-struct`.
    Kept,
    /// Nothing is said, so yes, unless `unevaluatedProperties` says no.
    Open,
    /// Yes: a map.
    Map,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    /// In the order of the schema.
    pub(super) fields: Vec<(String, Field)>,
    pub(super) opening: Opening,
}

/// What is known of an object's field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// The shape it has in whatever branch of the schema applies.
    sound: Option<Shape>,
    /// The shape it has in those branches that declare it, where others leave it open.
    some: Option<Shape>,
}

impl Field {
    pub(super) fn everywhere(shape: Shape) -> Self {
        Self { sound: Some(shape), some: None }
    }

    /// Its shape, and whether that holds in every branch.
    pub(super) fn settle(self) -> (Shape, bool) {
        match (self.sound, self.some) {
            (Some(shape), _) => (shape, true),
            (None, Some(shape)) => (shape, false),
            (None, None) => (Shape::anything(), true),
        }
    }

    fn meet(self, other: Field) -> Field {
        let sound = either(self.sound, other.sound, Shape::meet);
        let some = if sound.is_some() { None } else { either(self.some, other.some, Shape::join) };
        Field { sound, some }
    }

    fn join(self, other: Field) -> Field {
        match (self, other) {
            (Field { sound: Some(one), .. }, Field { sound: Some(other), .. }) => Field::everywhere(one.join(other)),
            (one, other) => {
                let some = either(one.sound.or(one.some), other.sound.or(other.some), Shape::join);
                Field { sound: None, some }
            }
        }
    }

    /// The field where another branch, open to all fields, does not declare it.
    fn in_some_branches(self) -> Field {
        Field { some: self.sound.or(self.some), sound: None }
    }
}

fn either<T>(one: Option<T>, other: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

impl Object {
    fn meet(self, other: Object) -> Object {
        // What says nothing takes nothing back.
        let opening = match (self.opening, other.opening) {
            (Opening::Open, opening) | (opening, Opening::Open) => opening,
            (Opening::Closed, _) | (_, Opening::Closed) => Opening::Closed,
            (one, other) => one.max(other),
        };
        let mut fields = self.fields;
        for (name, field) in other.fields {
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = known.clone().meet(field),
                None => fields.push((name, field)),
            }
        }
        Object { fields, opening }
    }

    fn join(self, other: Object) -> Object {
        let opening = self.opening.max(other.opening);
        let mut rest = other.fields;
        let mut fields = Vec::with_capacity(self.fields.len() + rest.len());
        for (name, field) in self.fields {
            let joined = match rest.iter().position(|(known, _)| *known == name) {
                Some(place) => field.join(rest.remove(place).1),
                None if other.opening == Opening::Closed => field,
                None => field.in_some_branches(),
            };
            fields.push((name, joined));
        }
        let closed = self.opening == Opening::Closed;
        fields.extend(
            rest.into_iter().map(|(name, field)| (name, if closed { field } else { field.in_some_branches() })),
        );
        Object { fields, opening }
    }
}

/// What a schema lets a value be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) types: Types,
    pub(super) text: Text,
    pub(super) decimal: Option<Decimal>,
    pub(super) array: Elements,
    pub(super) object: Object,
    /// Why nothing is known, where something could have been.
    pub(super) note: Option<&'static str>,
}

impl Shape {
    /// Any value at all.
    pub(super) fn anything() -> Self {
        Self {
            types: Types::ALL,
            text: Text::Plain,
            decimal: None,
            array: Elements::Anything,
            object: Object { fields: Vec::new(), opening: Opening::Open },
            note: None,
        }
    }

    /// Any value, since the schema could not be followed.
    pub(super) fn unknown(note: &'static str) -> Self {
        Self { note: Some(note), ..Self::anything() }
    }

    /// Any value of those types.
    pub(super) fn of(types: Types) -> Self {
        Self { types, ..Self::anything() }
    }

    /// What has both shapes.
    pub(super) fn meet(self, other: Shape) -> Shape {
        let text = match (self.text, other.text) {
            (Text::Plain, text) | (text, Text::Plain) => text,
            (one, other) if one == other => one,
            _ => Text::Plain,
        };
        let decimal = match (self.decimal, other.decimal) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => one.or(other),
        };
        let array = match (self.array, other.array) {
            (Elements::Anything, elements) | (elements, Elements::Anything) => elements,
            (Elements::Of(one), Elements::Of(other)) => Elements::Of(Box::new(one.meet(*other))),
        };
        Shape {
            types: self.types.and(other.types),
            text,
            decimal,
            array,
            object: self.object.meet(other.object),
            note: self.note.or(other.note),
        }
    }

    /// What has one shape or the other.
    pub(super) fn join(self, other: Shape) -> Shape {
        // What a branch says of a type it does not allow says nothing.
        let pick = |types: Types| (self.types.any_of(types), other.types.any_of(types));
        let text = match pick(Types::STRING) {
            (true, true) if self.text != other.text => Text::Plain,
            (false, true) => other.text,
            _ => self.text,
        };
        let decimal = match pick(Types::NUMBER.or(Types::STRING)) {
            (true, true) if self.decimal != other.decimal => None,
            (false, true) => other.decimal,
            _ => self.decimal,
        };
        let (arrays, objects) = (pick(Types::ARRAY), pick(Types::OBJECT));
        let types = self.types.or(other.types);
        let note = self.note.or(other.note);
        let array = match (arrays, self.array, other.array) {
            ((true, true), Elements::Of(one), Elements::Of(other)) => Elements::Of(Box::new(one.join(*other))),
            ((true, true), ..) => Elements::Anything,
            ((false, true), _, array) | (_, array, _) => array,
        };
        let object = match objects {
            (true, true) => self.object.join(other.object),
            (false, true) => other.object,
            _ => self.object,
        };
        Shape { types, text, decimal, array, object, note }
    }
}
