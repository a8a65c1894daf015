//! Where clients and operators are listened to.

use super::judge::Judge;
use super::raw::RawConfig;
use super::settings::{AdminSettings, ListenSettings};

pub(super) fn listen(judge: &mut Judge<'_>, raw: &RawConfig) -> ListenSettings {
    let listen = &raw.listen;
    let address = judge.address("listen.address", &listen.address);
    let keyless = raw.clients.is_empty() && raw.identities.is_empty() && !raw.keys.required;
    if keyless && !address.ip().is_loopback() {
        judge.wrong(
            "listen.address",
            format!("{address} is open to others, but there are no client keys"),
            "add a [[clients]] entry, set keys.required = true, or listen on 127.0.0.1",
        );
    }
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let memory = judge
        .positive("listen.body_memory_bytes", listen.body_memory_bytes)
        .max(listen.max_body_bytes);
    ListenSettings {
        address,
        max_body_bytes: size(judge.positive("listen.max_body_bytes", listen.max_body_bytes)),
        // One that is larger than all of them together could never be held.
        max_form_bytes: size(
            judge
                .positive("listen.max_form_bytes", listen.max_form_bytes)
                .min(memory),
        ),
        body_memory_bytes: size(memory),
        memory_limit_bytes: listen.memory_limit_bytes,
        max_connections: listen.max_connections.max(1),
        max_in_flight: listen.max_in_flight.max(1),
        head_timeout: judge.millis("listen.head_timeout_ms", listen.head_timeout_ms),
        idle_timeout: judge.millis("listen.idle_timeout_ms", listen.idle_timeout_ms),
        write_stall: judge.millis("listen.write_stall_ms", listen.write_stall_ms),
        drain: judge.millis("listen.drain_ms", listen.drain_ms),
        // hyper refuses to work with less than 8 KiB.
        max_header_bytes: size(u64::from(listen.max_header_bytes.max(8_192))),
        max_headers: size(u64::from(listen.max_headers.max(16))),
        h2_max_streams: listen.h2_max_streams.max(1),
    }
}

pub(super) fn admin(judge: &mut Judge<'_>, raw: &RawConfig) -> AdminSettings {
    let address = judge.address("admin.address", &raw.admin.address);
    let key = raw
        .admin
        .key
        .as_ref()
        .and_then(|reference| judge.secret("admin.key", reference));
    if raw.admin.enabled && raw.admin.key.is_none() && !address.ip().is_loopback() {
        judge.wrong(
            "admin.address",
            format!("{address} is open to others, but there is no admin key"),
            "set admin.key = \"env:SWITCHYARD_ADMIN_KEY\", or listen on 127.0.0.1",
        );
    }
    if raw.admin.allow_fault_injection && raw.admin.key.is_none() {
        judge.wrong(
            "admin.allow_fault_injection",
            "faults can be injected by anyone",
            "set admin.key",
        );
    }
    AdminSettings {
        enabled: raw.admin.enabled,
        address,
        key,
        allow_fault_injection: raw.admin.allow_fault_injection,
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        listen(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        admin(&mut Judge::of_defaults(), &RawConfig::default())
    }
}
