//! The operator's own name servers, asked without the operating system (fault N01).
//!
//! # Why
//! A system's resolver waits as long as its own file says (five seconds a try is usual), on a thread that nothing can
//! take back, and hides how long an answer holds. Names are asked for as they are written: no search list, no hosts
//! file. `localhost` stays with the system (RFC 6761).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ring::rand::SecureRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{Family, Said, answer, question};
use super::{Found, Resolve, SystemResolver};

/// A server that says nothing for this long is passed over; the lookup's own limit stands above.
const PATIENCE: Duration = Duration::from_millis(600);
/// A lost datagram is sent again: so often each server is asked.
const ROUNDS: usize = 2;

pub(super) struct NameServers {
    servers: Vec<SocketAddr>,
    /// Of questions' numbers: who cannot see a question must not be able to answer it.
    random: Arc<dyn SecureRandom + Send + Sync>,
}

impl NameServers {
    pub(super) fn new(
        servers: Vec<SocketAddr>,
        random: Arc<dyn SecureRandom + Send + Sync>,
    ) -> Self {
        Self { servers, random }
    }

    async fn found(&self, host: &str) -> io::Result<Found> {
        let (v6, v4) = tokio::join!(self.ask(host, Family::V6), self.ask(host, Family::V4));
        // One of the two may fail: a server without IPv6 answers for itself.
        let both: Vec<Found> = [v6, v4].into_iter().flatten().collect();
        if both.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let serves_for = both.iter().filter_map(|found| found.serves_for).min();
        let addresses = both.into_iter().flat_map(|found| found.addresses);
        let addresses: Vec<IpAddr> = addresses.collect();
        if addresses.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Found {
            addresses,
            serves_for,
        })
    }

    /// The first server that knows; that there is no such name is known, too.
    async fn ask(&self, host: &str, family: Family) -> io::Result<Found> {
        let mut trouble = io::Error::from(io::ErrorKind::TimedOut);
        for server in self
            .servers
            .iter()
            .cycle()
            .take(self.servers.len() * ROUNDS)
        {
            let asked = question(self.number()?, host, family)
                .ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
            let said = match timeout(PATIENCE, told(*server, &asked)).await {
                Ok(Ok(said)) => said,
                Ok(Err(error)) => {
                    trouble = error;
                    continue;
                }
                Err(_silent) => continue,
            };
            match said {
                Said::Addresses {
                    addresses,
                    serves_for,
                } => {
                    return Ok(Found {
                        addresses,
                        serves_for,
                    });
                }
                Said::NoSuchName => return Ok(Found::default()),
                Said::Trouble | Said::TooLong => {}
            }
        }
        Err(trouble)
    }

    fn number(&self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.random
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("no randomness"))?;
        Ok(u16::from_ne_bytes(bytes))
    }
}

impl fmt::Debug for NameServers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("NameServers").field(&self.servers).finish()
    }
}

impl Resolve for NameServers {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Found>> {
        Box::pin(async move {
            if is_local(host) {
                return SystemResolver.resolve(host).await;
            }
            self.found(host).await
        })
    }
}

fn is_local(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Asks by datagram, and by stream what is too long for one.
async fn told(server: SocketAddr, asked: &[u8]) -> io::Result<Said> {
    let here: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, and only this server's datagrams come in.
    let socket = UdpSocket::bind((here, 0)).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut inbox = vec![0; 4_096];
    loop {
        let count = socket.recv(&mut inbox).await?;
        // Anything that is no answer to this question is as if it had not come.
        match answer(asked, inbox.get(..count).unwrap_or_default()) {
            Some(Said::TooLong) => return told_by_stream(server, asked).await,
            Some(said) => return Ok(said),
            None => {}
        }
    }
}

async fn told_by_stream(server: SocketAddr, asked: &[u8]) -> io::Result<Said> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], asked].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut inbox = vec![0; usize::from(length)];
    stream.read_exact(&mut inbox).await?;
    answer(asked, &inbox).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use tokio::net::TcpListener;

    use super::*;

    fn asking(servers: &[SocketAddr]) -> NameServers {
        NameServers::new(servers.to_vec(), Arc::new(SystemRandom::new()))
    }

    /// Flags and code of the answer, and the last byte of each address in it.
    type Says = (u8, u8, &'static [u8]);

    fn written(asked: &[u8], (flags, code, last): Says) -> Vec<u8> {
        let mut bytes = asked.to_vec();
        (bytes[2], bytes[3]) = (0x81 | flags, 0x80 | code);
        // Only questions for IPv4 have answers here.
        let is_v4 = asked[asked.len() - 3] == 1;
        let last = if is_v4 { last } else { &[] };
        bytes[7] = u8::try_from(last.len()).unwrap();
        for last in last {
            bytes
                .extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xc0\x00\x02");
            bytes.push(*last);
        }
        bytes
    }

    async fn server(says: &'static [Says]) -> SocketAddr {
        let (socket, streams, address) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            // A port that is free for datagrams may be taken by a stream.
            if let Ok(streams) = TcpListener::bind(address).await {
                break (socket, streams, address);
            }
        };
        tokio::spawn(async move {
            let mut inbox = [0; 512];
            loop {
                let (count, from) = socket.recv_from(&mut inbox).await.unwrap();
                for says in says {
                    let said = written(&inbox[..count], *says);
                    socket.send_to(&said, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = streams.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut asked = vec![0; usize::from(length)];
                stream.read_exact(&mut asked).await.unwrap();
                let said = written(&asked, (0, 0, &[9, 8, 7]));
                let length = u16::try_from(said.len()).unwrap();
                stream.write_u16(length).await.unwrap();
                stream.write_all(&said).await.unwrap();
            }
        });
        address
    }

    async fn found(servers: &[SocketAddr]) -> Result<Vec<u8>, io::ErrorKind> {
        let found = asking(servers).resolve("llm.example").await;
        let found = found.map_err(|error| error.kind())?;
        assert_eq!(found.serves_for, Some(Duration::from_secs(5)));
        let last = found.addresses.iter().map(|address| match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(_) => 0,
        });
        Ok(last.collect())
    }

    #[tokio::test]
    async fn n01_a_server_that_cannot_tell_is_passed_over_and_one_that_says_no_is_believed() {
        let well = server(&[(0, 0, &[1, 2])]).await;
        let ill = server(&[(0, 2, &[])]).await;
        let sure = server(&[(0, 3, &[])]).await;
        assert_eq!(found(&[well]).await, Ok(vec![1, 2]));
        assert_eq!(found(&[ill, well]).await, Ok(vec![1, 2]));
        assert_eq!(found(&[sure, well]).await, Err(io::ErrorKind::NotFound));
        assert!(found(&[ill]).await.is_err());
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        assert_eq!(found(&[nobody, well]).await, Ok(vec![1, 2]));
    }

    #[tokio::test]
    async fn n01_a_silent_server_costs_six_hundred_milliseconds() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let well = server(&[(0, 0, &[1])]).await;
        let begun = tokio::time::Instant::now();
        let servers = [silent.local_addr().unwrap(), well];
        assert_eq!(found(&servers).await, Ok(vec![1]));
        let waited = begun.elapsed();
        assert!((PATIENCE..PATIENCE * 2).contains(&waited), "{waited:?}");
    }

    #[tokio::test]
    async fn n01_what_is_too_long_for_a_datagram_is_asked_for_by_stream() {
        let cut = server(&[(0x02, 0, &[])]).await;
        assert_eq!(found(&[cut]).await, Ok(vec![9, 8, 7]));
    }

    #[tokio::test]
    async fn localhost_is_never_asked_abroad() {
        let server = server(&[(0, 0, &[1])]).await;
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            assert!(is_local(name), "{name}");
        }
        assert!(!is_local("localhost.example"));
        let found = asking(&[server]).resolve("localhost").await.unwrap();
        assert!(found.addresses.iter().all(IpAddr::is_loopback));
    }
}
