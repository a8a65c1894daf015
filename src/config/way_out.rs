//! The way out to the providers: a proxy, name servers.

use std::net::SocketAddr;
use std::sync::Arc;

use super::egress;
use super::judge::Judge;
use super::raw::RawConfig;
use super::settings::EgressSettings;

pub(super) fn way_out(judge: &mut Judge<'_>, raw: &RawConfig) -> EgressSettings {
    const PATH: &str = "egress.proxy";
    let proxy = raw.egress.proxy.as_deref().and_then(|written| {
        let is_reference = written.starts_with("env:") || written.starts_with("file:");
        let read = if is_reference {
            egress::proxy(judge.secret(PATH, written)?.expose())
        } else if written.contains('@') {
            Err((
                "holds a user name or password, and secrets are not written into the configuration",
                "put the whole address where a reference finds it: \"env:EGRESS_PROXY\"",
            ))
        } else {
            egress::proxy(written)
        };
        read.map_err(|(what, cure)| judge.wrong(PATH, what, cure))
            .ok()
    });
    for (index, entry) in raw.egress.no_proxy.iter().enumerate() {
        if !egress::is_exception(entry) {
            judge.wrong(
                format!("egress.no_proxy[{index}]"),
                format!("{entry:?} is no host"),
                "write a host without port, or \".suffix\" for all hosts that end so",
            );
        }
    }
    EgressSettings {
        proxy: proxy.map(Arc::new),
        no_proxy: raw.egress.no_proxy.clone(),
        resolvers: resolvers(judge, &raw.egress.resolvers),
    }
}

pub(super) fn resolvers(judge: &mut Judge<'_>, written: &[String]) -> Arc<[SocketAddr]> {
    let mut servers = Vec::new();
    for (index, entry) in written.iter().enumerate() {
        match egress::name_server(entry) {
            Some(server) => servers.push(server),
            None => judge.wrong(
                format!("egress.resolvers[{index}]"),
                format!("{entry:?} is no address of a name server"),
                "write an IP address, with a port if it is not 53: \"10.0.0.2\", \"127.0.0.1:5353\", \"[fd00::2]:53\"",
            ),
        }
    }
    servers.into()
}
