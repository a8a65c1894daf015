//! The gateway's books as its admin listener tells them: what is spent, what is set aside, what the reports say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::scrape::asked;
use crate::scenario::nanos;

/// What a tenant's account has spent under one cap, in nano-dollars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse {
    pub account: String,
    pub spent: u64,
    pub reserved: u64,
}

/// One tenant's books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantBooks {
    pub open_requests: u64,
    pub purses: Vec<Purse>,
}

/// What a report says of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spend {
    pub requests: u64,
    pub cost: u64,
}

/// `/admin/tenants` and `/admin/spend` at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    pub tenants: BTreeMap<String, TenantBooks>,
    pub spend: BTreeMap<String, Spend>,
}

impl Books {
    #[must_use]
    pub fn requests(&self) -> u64 {
        let all = self.spend.values();
        all.fold(0, |sum, one| sum.saturating_add(one.requests))
    }
}

/// Asks for both; `None` when nobody answers in the form that is known.
pub async fn books(admin: SocketAddr, key: &str) -> Option<Books> {
    let tenants = asked(admin, key, "/admin/tenants").await?;
    let spend = asked(admin, key, "/admin/spend?by=tenant").await?;
    read(&tenants.json(), &spend.json())
}

fn read(tenants: &Value, spend: &Value) -> Option<Books> {
    let mut books = Books::default();
    for tenant in tenants.get("tenants")?.as_array()? {
        let mut own = TenantBooks {
            open_requests: tenant.get("open_requests")?.as_u64()?,
            purses: Vec::new(),
        };
        for account in tenant.get("accounts")?.as_array()? {
            let name = account.get("account")?.as_str()?;
            for budget in account.get("budgets")?.as_array()? {
                let usd = |name: &str| nanos(budget.get(name)?.as_str()?);
                own.purses.push(Purse {
                    account: name.to_owned(),
                    spent: usd("spent_usd")?,
                    reserved: usd("reserved_usd")?,
                });
            }
        }
        let name = tenant.get("name")?.as_str()?.to_owned();
        books.tenants.insert(name, own);
    }
    for line in spend.get("lines")?.as_array()? {
        let number = |name: &str| line.get(name)?.as_u64();
        let one = Spend {
            requests: number("requests")?,
            cost: nanos(line.get("cost_usd")?.as_str()?)?,
        };
        books.spend.insert(said(line)?.to_owned(), one);
    }
    Some(books)
}

/// What a line of a report is about.
fn said(line: &Value) -> Option<&str> {
    line.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_that_is_not_known_is_no_empty_book() {
        let purse = json!({"limit_usd": "1", "spent_usd": "0.25", "reserved_usd": "0.5"});
        let account = json!({"account": "acme", "budgets": [purse]});
        let tenants =
            json!({"tenants": [{"name": "acme", "open_requests": 2, "accounts": [account]}]});
        let spend = json!({"lines": [{"name": "acme", "requests": 3, "cost_usd": "0.25"}]});
        let books = read(&tenants, &spend).unwrap();
        let acme = &books.tenants["acme"];
        assert_eq!((acme.open_requests, acme.purses[0].spent), (2, 250_000_000));
        assert_eq!(acme.purses[0].reserved, 500_000_000);
        assert_eq!(
            (books.requests(), books.spend["acme"].cost),
            (3, 250_000_000)
        );
        assert_eq!(read(&json!({}), &spend), None);
        assert_eq!(read(&tenants, &json!({"lines": [{"name": "acme"}]})), None);
    }
}
