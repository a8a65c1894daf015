//! Lists in pages.

use serde_json::{Value, json};

use crate::dialects::DialectError;

const MOST: usize = 100;
const USUAL: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    Oldest,
    #[default]
    Newest,
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    pub limit: Option<usize>,
    pub order: Order,
    pub after: Option<String>,
    pub before: Option<String>,
}

impl PageQuery {
    /// Reads names and values as they stand in an address.
    pub fn read<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, DialectError> {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MOST).contains(limit));
                    let wrong = || DialectError::at("limit", "must be between 1 and 100");
                    query.limit = Some(limit.ok_or_else(wrong)?);
                }
                "order" => {
                    query.order = match value {
                        "asc" => Order::Oldest,
                        "desc" => Order::Newest,
                        _ => return Err(DialectError::at("order", "must be asc or desc")),
                    }
                }
                "after" => query.after = Some(value.to_owned()),
                "before" => query.before = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(query)
    }
}

/// One page of items that stand oldest first.
pub fn page(mut items: Vec<Value>, query: &PageQuery) -> Result<Value, DialectError> {
    if query.order == Order::Newest {
        items.reverse();
    }
    let place = |name: &str, id: &str| {
        let found = items
            .iter()
            .position(|item| item.get("id") == Some(&Value::from(id)));
        found.ok_or_else(|| DialectError::at(name, "there is no such item in this list"))
    };
    let from = match &query.after {
        Some(id) => place("after", id)? + 1,
        None => 0,
    };
    let to = match &query.before {
        Some(id) => place("before", id)?,
        None => items.len(),
    };
    let limit = query.limit.unwrap_or(USUAL);
    let within: Vec<Value> = items.into_iter().take(to).skip(from).collect();
    let has_more = within.len() > limit;
    // What comes before an item is the page that ends with it, not the one the list begins with.
    let data: Vec<Value> = if query.before.is_some() && query.after.is_none() {
        let surplus = within.len().saturating_sub(limit);
        within.into_iter().skip(surplus).collect()
    } else {
        within.into_iter().take(limit).collect()
    };
    let id = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned();
    Ok(json!({
        "object": "list",
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
        "data": data,
    }))
}
