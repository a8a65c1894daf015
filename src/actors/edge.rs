//! The keeper of the listeners: started last, stopped first. The sockets themselves outlive a crash, so a
//! restart loses no connection.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::member::{Crash, Member, Stage};
use super::slot::Seat;

/// Something that accepts until it is dropped.
pub trait Listener: Send + Sync {
    fn accept(&self) -> BoxFuture<'static, ()>;
}

pub(crate) enum EdgeMessage {
    /// An accept loop ended by itself.
    Ended,
}

pub(crate) struct EdgeActor {
    pub(super) listeners: Vec<Arc<dyn Listener>>,
    pub(super) seat: Arc<Seat>,
}

impl Member for EdgeActor {
    type Message = EdgeMessage;

    fn started(&mut self, stage: &mut Stage<EdgeMessage>) -> Result<(), Crash> {
        for listener in &self.listeners {
            let accepting = listener.accept();
            stage.spawn(async move {
                accepting.await;
                Some(EdgeMessage::Ended)
            });
        }
        self.seat.set_health("listening");
        Ok(())
    }

    fn handle(&mut self, message: EdgeMessage, _: &mut Stage<EdgeMessage>) -> Result<(), Crash> {
        match message {
            EdgeMessage::Ended => Err(Crash("an accept loop ended".to_owned())),
        }
    }
}
