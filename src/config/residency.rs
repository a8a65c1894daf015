//! Where providers process what they are sent, and what tenants, teams and clients demand of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::judge::Judge;
use super::raw::{RawAuth, RawConfig, RawKeyForm, RawProvider};
use super::settings::{ClientSettings, KeySettings, TenantSettings};
use crate::domain::Dialect;
use crate::policy::residency::{Demand, Demands, Handling, is_place};

/// What becomes of what is sent with each key: as written of the key, else of its provider, else where its
/// requests are signed for.
pub(super) fn handling(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
    keys: &mut [KeySettings],
) {
    let at = format!("{path}.regions");
    places(judge, &at, raw.regions.as_deref());
    contradiction(judge, path, raw.zero_retention, raw.trains);
    let bedrock = raw.dialect == Some(Dialect::Bedrock);
    let signs = bedrock || matches!(raw.auth, Some(RawAuth::Vertex));
    // Google's "global" is anywhere.
    let told = raw.region.iter().filter(|region| *region != "global");
    let signed_for = told.filter(|_| signs).cloned().collect();
    let usual = raw.regions.clone().unwrap_or(signed_for);
    for (index, form) in raw.keys.iter().enumerate() {
        let (mut regions, mut zero) = (usual.clone(), raw.zero_retention);
        let (mut trains, mut name) = (raw.trains, None);
        if let RawKeyForm::Table(key) = form {
            let path = format!("{path}.keys[{index}]");
            places(judge, &format!("{path}.regions"), key.regions.as_deref());
            if let Some(own) = &key.regions {
                regions.clone_from(own);
            }
            (zero, trains) = (key.zero_retention.or(zero), key.trains.or(trains));
            contradiction(judge, &path, zero, trains);
            name.clone_from(&key.name);
        }
        let name = name.unwrap_or_else(|| format!("key{}", index + 1));
        let handling = Handling::new(regions, zero.unwrap_or(false), trains);
        let handling = if bedrock {
            handling.by_model()
        } else {
            handling
        };
        if let Some(key) = keys.iter_mut().find(|key| key.name.as_str() == name) {
            key.handling = Arc::new(handling);
        }
    }
}

fn contradiction(judge: &mut Judge<'_>, path: &str, zero: Option<bool>, trains: Option<bool>) {
    if zero == Some(true) && trains == Some(true) {
        judge.wrong(
            format!("{path}.trains"),
            "contradicts zero_retention = true: who keeps nothing has nothing to learn from",
            "set one of them to false",
        );
    }
}

pub(super) fn places(judge: &mut Judge<'_>, path: &str, regions: Option<&[String]>) {
    let Some(regions) = regions else { return };
    if regions.is_empty() {
        judge.wrong(
            path,
            "names no region",
            "write where it is, as [\"eu\"], or leave it out",
        );
    }
    for region in regions.iter().filter(|region| !is_place(region)) {
        judge.wrong(
            path,
            format!("{region:?} is no region"),
            "use up to 64 small letters, digits and -, as \"eu\" or \"eu-central-1\"",
        );
    }
}

/// Puts together what is demanded for each client: by its tenant, its team and itself, each of which may only
/// narrow what the one before said.
pub(super) fn demands(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    (tenants, clients): (&mut [Arc<TenantSettings>], &mut [ClientSettings]),
) {
    let nothing = Demand::default();
    let mut known: BTreeMap<(&str, Option<&str>), Demand> = BTreeMap::new();
    let providers: Vec<&str> = raw.providers.keys().map(String::as_str).collect();
    let mut reader = Reader { judge, providers };
    for (name, tenant) in &raw.tenants {
        let path = format!("tenants.{name}");
        let own = reader.demand(&path, &nothing, &tenant.demands());
        for (team, terms) in &tenant.teams {
            let path = format!("{path}.teams.{team}");
            let demand = reader.demand(&path, &own, &terms.demands());
            known.insert((name, Some(team)), demand);
        }
        for (tag, terms) in &tenant.tags {
            reader.no_tag(&format!("{path}.tags.{tag}"), &terms.demands());
        }
        known.insert((name, None), own);
    }
    for tenant in tenants {
        let name = tenant.name.clone();
        let demand = known.get(&(name.as_str(), None)).and_then(some);
        let teams = known.iter().filter(|((one, _), _)| *one == name.as_str());
        let teams = teams.filter_map(|((_, team), demand)| Some(((*team)?, some(demand)?)));
        let settings = Arc::make_mut(tenant);
        settings.team_demands = teams.map(|(team, own)| (team.to_owned(), own)).collect();
        settings.demand = demand;
    }
    for (name, identity) in &raw.identities {
        // Who is let in by it belongs to a tenant that a token names; only what is written here is judged here.
        let path = format!("identities.{name}");
        let _ = reader.demand(&path, &nothing, &identity.demands());
    }
    // By name: there may be tens of thousands.
    let mut by_name: HashMap<String, &mut ClientSettings> = HashMap::new();
    for one in clients.iter_mut() {
        by_name.entry(one.name.to_string()).or_insert(one);
    }
    for (index, client) in raw.clients.iter().enumerate() {
        let tenant = client.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT);
        let of_team = known.get(&(tenant, client.team.as_deref()));
        let above = of_team.or_else(|| known.get(&(tenant, None)));
        let path = format!("clients[{index}]");
        let demand = reader.demand(&path, above.unwrap_or(&nothing), &client.demands());
        if let Some(settings) = by_name.get_mut(&client.name) {
            settings.demand = some(&demand);
        }
    }
}

fn some(demand: &Demand) -> Option<Arc<Demand>> {
    (!demand.is_none()).then(|| Arc::new(demand.clone()))
}

struct Reader<'j, 'e> {
    judge: &'j mut Judge<'e>,
    providers: Vec<&'j str>,
}

impl Reader<'_, '_> {
    /// What is demanded here, on top of what was above.
    fn demand(&mut self, path: &str, above: &Demand, demands: &Demands<'_>) -> Demand {
        let regions = demands.regions;
        let beginnings: Option<Vec<String>> = regions.map(|regions| {
            let bare = |region: &String| match region.strip_suffix('*') {
                Some(beginning) if !beginning.is_empty() => beginning.to_owned(),
                Some(_) | None => region.clone(),
            };
            regions.iter().map(bare).collect()
        });
        let at = format!("{path}.regions");
        places(self.judge, &at, beginnings.as_deref());
        if let Some(beyond) = regions.and_then(|regions| above.beyond(regions)) {
            self.judge.wrong(
                at,
                format!("{beyond:?} lies outside the regions of the table above it"),
                "demand a part of those; nothing here can widen them",
            );
        }
        self.names(&format!("{path}.providers"), demands.providers);
        self.names(
            &format!("{path}.not_providers"),
            Some(demands.not_providers),
        );
        if demands.providers.is_some_and(<[String]>::is_empty) {
            self.judge.wrong(
                format!("{path}.providers"),
                "names nobody, so nobody could serve",
                "name those who may, or leave it out",
            );
        }
        above.and(demands)
    }

    fn names(&mut self, path: &str, names: Option<&[String]>) {
        for name in names.unwrap_or_default() {
            let known = match name.strip_suffix('*') {
                Some(beginning) => self.providers.iter().any(|one| one.starts_with(beginning)),
                None => self.providers.contains(&name.as_str()),
            };
            if !known {
                // A slip here would let somebody in, or everybody out.
                self.judge.wrong(
                    path,
                    format!("there is no provider {name:?}"),
                    format!("use one of: {}", self.providers.join(", ")),
                );
            }
        }
    }

    /// Tags are what a client says a request is for: nothing rests on them that has to hold.
    fn no_tag(&mut self, path: &str, demands: &Demands<'_>) {
        if *demands != Demands::default() {
            self.judge.wrong(
                path,
                "demands something of providers, and a tag is the client's own word",
                "demand it of the tenant, a team or a client",
            );
        }
    }
}
