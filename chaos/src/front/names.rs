//! A name server on the loopback that says what it is told to say.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What is said of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// In this order; none is an empty answer.
    Addresses(Vec<Ipv4Addr>),
    /// SERVFAIL.
    Trouble,
    /// NXDOMAIN.
    NoSuchName,
    Nothing,
}

/// A name, what is said of it, and how often somebody asked since that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    says: Says,
    asked: u64,
}

/// A running name server; it ends when dropped. Names it was told nothing of do not exist.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    entries: Arc<watch::Sender<BTreeMap<String, Entry>>>,
    task: AbortHandle,
}

/// Seconds an answer holds: a lookup is to show soon what is said.
const TTL: u32 = 1;
const HEAD: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

impl NameServer {
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let entries = Arc::new(watch::Sender::new(BTreeMap::new()));
        let task = tokio::spawn(serve(socket, Arc::clone(&entries))).abort_handle();
        Ok(Self {
            address,
            entries,
            task,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is said of the name, which is written in small letters.
    pub fn say(&self, name: &str, says: Says) {
        self.entries.send_modify(|entries| {
            entries.insert(name.to_owned(), Entry { says, asked: 0 });
        });
    }

    /// From now on `then` is said of the name, if `says` still is: another may have said something since.
    pub fn no_longer(&self, name: &str, says: &Says, then: Says) {
        self.entries.send_modify(|entries| {
            let mine = entries.get_mut(name).filter(|entry| entry.says == *says);
            if let Some(entry) = mine {
                *entry = Entry {
                    says: then,
                    asked: 0,
                };
            }
        });
    }

    /// How often somebody was told this of the name; 0 once something else is said of it.
    #[must_use]
    pub fn told(&self, name: &str, says: &Says) -> u64 {
        let entries = self.entries.borrow();
        let entry = entries.get(name).filter(|entry| entry.says == *says);
        entry.map_or(0, |entry| entry.asked)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, entries: Arc<watch::Sender<BTreeMap<String, Entry>>>) {
    let mut inbox = vec![0; 1_500];
    loop {
        // An error here is a client that has left: the port is still ours.
        let Ok((count, from)) = socket.recv_from(&mut inbox).await else {
            continue;
        };
        let question = inbox.get(..count).unwrap_or_default();
        let Some((name, end)) = name_of(question) else {
            continue;
        };
        let mut says = Says::NoSuchName;
        entries.send_if_modified(|entries| {
            if let Some(entry) = entries.get_mut(&name) {
                entry.asked = entry.asked.saturating_add(1);
                says = entry.says.clone();
            }
            false
        });
        if let Some(answer) = answer(question, end, &says) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The name asked for, and where it ends.
fn name_of(question: &[u8]) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = HEAD;
    loop {
        let length = usize::from(*question.get(at)?);
        at = at.checked_add(1)?;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = question.get(at..at.checked_add(length)?)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at = at.checked_add(length)?;
    }
}

/// `end` is where the name in the question ends.
fn answer(question: &[u8], end: usize, says: &Says) -> Option<Vec<u8>> {
    let asked = question.get(end..end.checked_add(4)?)?;
    let none = Vec::new();
    let (code, addresses) = match says {
        Says::Addresses(all) if asked.starts_with(&TYPE_A) => (0, all),
        Says::Addresses(_) => (0, &none),
        Says::Trouble => (2, &none),
        Says::NoSuchName => (3, &none),
        Says::Nothing => return None,
    };
    let mut bytes = question.get(..2)?.to_vec();
    // An answer, with recursion; one question, so many records.
    let count = u8::try_from(addresses.len()).ok()?;
    bytes.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    bytes.extend_from_slice(question.get(HEAD..end.checked_add(4)?)?);
    for address in addresses {
        // The name of the question, A, IN.
        bytes.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1]);
        bytes.extend_from_slice(&TTL.to_be_bytes());
        bytes.extend_from_slice(&[0, 4]);
        bytes.extend_from_slice(&address.octets());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `alpha.mock.test`, type A.
    const QUESTION: &[u8] =
        b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05Alpha\x04mock\x04test\x00\x00\x01\x00\x01";

    async fn ask(server: &NameServer, question: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.address()).await.unwrap();
        socket.send(question).await.unwrap();
        let mut inbox = vec![0; 512];
        let patience = std::time::Duration::from_millis(200);
        let count = tokio::time::timeout(patience, socket.recv(&mut inbox)).await;
        inbox.truncate(count.ok()?.unwrap());
        Some(inbox)
    }

    #[tokio::test]
    async fn n01_a_name_is_told_as_it_was_said_and_who_asked_is_counted() {
        let server = NameServer::start().await.unwrap();
        let code = |answer: &[u8]| (answer[3] & 0x0f, answer[7]);
        let told = ask(&server, QUESTION).await.unwrap();
        assert_eq!(code(&told), (3, 0), "a name nobody knows");
        let name = "alpha.mock.test";
        let addresses = vec![Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::LOCALHOST];
        let addresses = Says::Addresses(addresses);
        server.say(name, addresses.clone());
        let told = ask(&server, QUESTION).await.unwrap();
        assert_eq!(code(&told), (0, 2));
        assert!(told.ends_with(&[0, 4, 127, 0, 0, 1]), "{told:?}");
        assert_eq!(told[..2], QUESTION[..2]);
        let six = [&QUESTION[..QUESTION.len() - 3], &[28, 0, 1]].concat();
        assert_eq!(code(&ask(&server, &six).await.unwrap()), (0, 0));
        assert_eq!(server.told(name, &addresses), 2);
        assert_eq!(server.told(name, &Says::Trouble), 0);
        for (says, seen) in [
            (Says::Trouble, Some((2, 0))),
            (Says::NoSuchName, Some((3, 0))),
            (Says::Addresses(Vec::new()), Some((0, 0))),
            (Says::Nothing, None),
        ] {
            server.say(name, says.clone());
            let told = ask(&server, QUESTION).await;
            assert_eq!(told.as_deref().map(code), seen);
            assert_eq!(server.told(name, &says), 1);
        }
        server.no_longer(name, &Says::Trouble, Says::NoSuchName);
        assert_eq!(
            ask(&server, QUESTION).await,
            None,
            "that is not what was said last"
        );
        server.no_longer(name, &Says::Nothing, Says::NoSuchName);
        assert_eq!(code(&ask(&server, QUESTION).await.unwrap()), (3, 0));
    }

    #[test]
    fn half_a_question_is_no_question() {
        for length in 0..QUESTION.len() {
            let half = &QUESTION[..length];
            let told = name_of(half).and_then(|(_, end)| answer(half, end, &Says::Trouble));
            assert_eq!(told, None, "{length}");
        }
    }
}
