//! The header fields of an answer, as they came: found by name when somebody asks.
//!
//! # Why not a `HeaderMap`
//! Providers send twenty fields and more, and the gateway looks for a handful. A map hashes and allocates
//! for each; this keeps the bytes and where they are.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;
use smallvec::SmallVec;

/// Fields in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    raw: Bytes,
    places: SmallVec<[Place; 24]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

fn range((from, to): (u32, u32)) -> Range<usize> {
    from as usize..to as usize
}

impl Fields {
    /// Fields that lie inside `raw`: the ranges of each name and value.
    pub(super) fn within(
        raw: Bytes,
        ranges: impl Iterator<Item = (Range<usize>, Range<usize>)>,
    ) -> Self {
        let narrow = |range: Range<usize>| {
            let clip = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            (clip(range.start), clip(range.end))
        };
        let places = ranges
            .map(|(name, value)| Place {
                name: narrow(name),
                value: narrow(value),
            })
            .collect();
        Self { raw, places }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn bytes(&self, place: (u32, u32)) -> &[u8] {
        self.raw.get(range(place)).unwrap_or_default()
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.bytes(place.name))
    }

    fn places_of(&self, name: &str) -> impl Iterator<Item = (u32, u32)> {
        self.places.iter().filter_map(move |place| {
            let found = self.bytes(place.name);
            (found.len() == name.len() && found.eq_ignore_ascii_case(name.as_bytes()))
                .then_some(place.value)
        })
    }

    /// Every value of this name; `None` for one that is no text.
    pub fn all(&self, name: &str) -> impl Iterator<Item = Option<&str>> {
        self.places_of(name)
            .map(|place| std::str::from_utf8(self.bytes(place)).ok())
    }

    /// The first value of this name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().flatten()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places_of(name).next().is_some()
    }

    /// The first value of this name as it may be sent on, without a copy.
    pub fn value(&self, name: &str) -> Option<HeaderValue> {
        let place = self.places_of(name).next()?;
        let range = range(place);
        self.raw.get(range.clone())?;
        HeaderValue::from_maybe_shared(self.raw.slice(range)).ok()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut raw = Vec::new();
        let mut ranges = Vec::new();
        for (name, value) in fields {
            let start = raw.len();
            raw.extend_from_slice(name.as_ref());
            let middle = raw.len();
            raw.extend_from_slice(value.as_ref());
            ranges.push((start..middle, middle..raw.len()));
        }
        Self::within(raw.into(), ranges.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_case_and_the_first_counts() {
        let fields: Fields = [("X-A", "1"), ("x-b", "2"), ("x-a", "3")]
            .into_iter()
            .collect();
        assert_eq!(fields.text("x-a"), Some("1"));
        assert_eq!(
            fields.all("x-a").collect::<Vec<_>>(),
            [Some("1"), Some("3")]
        );
        assert_eq!(fields.value("x-b"), Some(HeaderValue::from_static("2")));
        assert!(fields.text("x-c").is_none() && !fields.contains("x-c"));
        assert_eq!(fields.names().collect::<Vec<_>>(), [b"X-A", b"x-b", b"x-a"]);
    }
}
