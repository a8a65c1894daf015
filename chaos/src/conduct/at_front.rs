//! Faults of what stands before a mock, and of its name. The front and the name server count who met them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::sleep;

use super::at_mock::AtMock;
use super::faults::Deeds;
use crate::front::{Front, FrontFault, H2Fault, NamesFault, Says, Speaks};
use crate::lab::Provider;

const CLOSE_EVERY: Duration = Duration::from_millis(100);
const CLOSINGS: u32 = 10;

/// Where a name moves to, and where nobody is.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

pub(super) async fn front(fault: FrontFault, at: &AtMock, provider: &Provider, off: u64) -> u64 {
    let Some(front) = &provider.front else {
        return 0;
    };
    let before = front.met();
    front.fault(Some(fault));
    // A connection that was open before knows nothing of it; so the idle ones are closed, which harms nobody.
    while front.speaks() != Speaks::H2 && at.times.epoch.millis() < off {
        provider.mock.close_idle();
        sleep(CLOSE_EVERY).await;
    }
    at.times.off(off).await;
    let met = front.met().saturating_sub(before);
    front.end(fault);
    if let FrontFault::H2(H2Fault::NotSpoken, _) = fault {
        // What was begun in HTTP/1.1 would stay with it.
        for _ in 0..CLOSINGS {
            provider.mock.close_idle();
            sleep(CLOSE_EVERY).await;
        }
    }
    met
}

/// A name is only asked for by who dials. So idle connections are closed all the while: nobody is harmed, and every
/// second request needs a new one.
pub(super) async fn names(
    fault: NamesFault,
    at: &AtMock,
    provider: &Provider,
    off: u64,
    deeds: &mut Deeds,
) -> u64 {
    let (Some(front), Some(host), Some(names)) = (&provider.front, &provider.host, &at.fleet.names)
    else {
        return 0;
    };
    let before = front.connections();
    let says = said(fault);
    names.say(host, says.clone());
    if fault == NamesFault::Moved
        && let Err(why) = front.move_to(IpAddr::V4(ELSEWHERE))
    {
        deeds.cannot(format!(
            "the mock of {host} cannot be reached at {ELSEWHERE}: {why}; give the loopback this address"
        ));
    }
    let mut asked = 0;
    while at.times.epoch.millis() < off {
        close_idle(provider, front);
        // Looked at while it is true: at the end another fault may have taken the name.
        asked = names.told(host, &says).max(asked);
        sleep(CLOSE_EVERY).await;
    }
    // Who only asked has not been at the new place.
    let met = if fault == NamesFault::Moved {
        front.connections().saturating_sub(before).min(asked)
    } else {
        asked
    };
    names.no_longer(host, &says, Says::Addresses(vec![Ipv4Addr::LOCALHOST]));
    if fault == NamesFault::Moved {
        // One that cannot go home shows as a provider that never recovers.
        let _ = front.move_gently(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    met
}

fn said(fault: NamesFault) -> Says {
    match fault {
        NamesFault::Trouble => Says::Trouble,
        NamesFault::NoSuchName => Says::NoSuchName,
        NamesFault::Silent => Says::Nothing,
        NamesFault::Empty => Says::Addresses(Vec::new()),
        NamesFault::Moved => Says::Addresses(vec![ELSEWHERE]),
        NamesFault::DeadFirst => Says::Addresses(vec![NOBODY, Ipv4Addr::LOCALHOST]),
    }
}

fn close_idle(provider: &Provider, front: &Front) {
    match front.speaks() {
        Speaks::Plain | Speaks::Tls => provider.mock.close_idle(),
        // Its connections to the mock are not those of the gateway.
        Speaks::H2 => front.retire_connections(),
    }
}
