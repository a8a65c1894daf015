//! Stands on the way of a server's frames to its client: puts frames in that no library sends, and takes some out.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

const HEAD: usize = 9;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// GOAWAY without an error: streams above `last` were not looked at.
pub(super) fn go_away(last: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last.to_be_bytes());
    frame.extend_from_slice(&0_u32.to_be_bytes());
    frame
}

/// Which of the server's frames never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swallows {
    Nothing,
    Pongs,
}

/// Carries whole frames from the server to the client, with `put_in` between them, until one side ends.
/// `swallowed` hears of each that was taken out.
pub(super) async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut put_in: mpsc::UnboundedReceiver<Vec<u8>>,
    swallows: Swallows,
    swallowed: impl Fn(),
) -> io::Result<()> {
    let mut inbox = BytesMut::with_capacity(32 * 1024);
    loop {
        while let Some(length) = frame(&inbox) {
            let is_pong =
                inbox.get(3) == Some(&PING) && inbox.get(4).is_some_and(|flags| flags & ACK != 0);
            if is_pong && swallows == Swallows::Pongs {
                inbox.advance(length);
                swallowed();
            } else {
                to.write_all(&inbox.split_to(length)).await?;
            }
        }
        to.flush().await?;
        tokio::select! {
            // What is put in comes before what follows it, be that the end.
            biased;
            Some(frame) = put_in.recv() => to.write_all(&frame).await?,
            read = from.read_buf(&mut inbox) => {
                if read? == 0 {
                    return to.shutdown().await;
                }
            }
        }
    }
}

/// The length of the frame that stands whole at the beginning.
fn frame(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes([0, *bytes.first()?, *bytes.get(1)?, *bytes.get(2)?]);
    let whole = usize::try_from(length).ok()?.checked_add(HEAD)?;
    (bytes.len() >= whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn carried(slices: usize, swallows: Swallows) -> (Vec<u8>, u32) {
        let (mut server, near) = tokio::io::duplex(64);
        let (client, mut far) = tokio::io::duplex(4_096);
        let (put, put_in) = mpsc::unbounded_channel();
        let count = std::cell::Cell::new(0);
        let pong = [&[0, 0, 8, PING, ACK, 0, 0, 0, 0][..], b"12345678"].concat();
        let data = [&[0, 0, 3, 0, 1, 0, 0, 0, 1][..], b"abc"].concat();
        let wire = [&data[..], &pong, &data].concat();
        put.send(go_away(7)).unwrap();
        let write = async move {
            for slice in wire.chunks(slices) {
                server.write_all(slice).await.unwrap();
            }
        };
        let carry = carry(near, client, put_in, swallows, || {
            count.set(count.get() + 1)
        });
        let mut read = Vec::new();
        let (_, carried, _) = tokio::join!(write, carry, far.read_to_end(&mut read));
        carried.unwrap();
        (read, count.get())
    }

    #[tokio::test]
    async fn frames_arrive_whole_with_others_between_them() {
        for slices in 1..40 {
            let (read, swallowed) = carried(slices, Swallows::Nothing).await;
            assert_eq!((read.len(), swallowed), (12 + 17 + 12 + 17, 0));
            let place = memchr::memmem::find(&read, &go_away(7)).unwrap();
            assert!(
                [0, 12, 29, 41].contains(&place),
                "{place} in slices of {slices}"
            );
        }
    }

    #[tokio::test]
    async fn pongs_are_taken_out_and_nothing_else() {
        let (read, swallowed) = carried(5, Swallows::Pongs).await;
        assert_eq!((read.len(), swallowed), (12 + 12 + 17, 1));
        assert!(memchr::memmem::find(&read, b"12345678").is_none());
    }
}
