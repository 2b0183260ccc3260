//! The store: hands charges and settlements to a task, which asks the counter.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tollgate::budget::{Charge, Decision, Settled, Store, StoreError, Units};

use crate::wire::{Answer, Ask, Target};

/// How long the counter may take to answer, before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(2);

/// A store at a counter service. A handle: clones share a connection.
///
/// The queue has no bound, because a settlement can neither wait nor be lost. It is short even so:
/// a counter that does not keep up is given up, and with it all that waits.
#[derive(Clone, Debug)]
pub(crate) struct SharedStore(mpsc::UnboundedSender<Command>);

#[derive(Debug)]
enum Command {
    Reserve(Units, Target, Reply),
    Settle(u64, Units),
}

type Reply = oneshot::Sender<Decision<Held>>;

impl SharedStore {
    /// A store at this counter, which may as well start later.
    pub(crate) fn at(counter: String) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let driver = Driver {
            names: 0,
            commands: commands.downgrade(),
            queue,
        };
        tokio::spawn(driver.run(counter));
        Self(commands)
    }
}

impl Store for SharedStore {
    type Held = Held;
    type Reserve = Reserve;

    fn reserve(&self, charge: &Charge<'_>) -> Reserve {
        let (reply, decision) = oneshot::channel();
        let command = Command::Reserve(charge.cost, Target::of(charge), reply);
        // If the driver is gone, so is `reply`, and the future says that nobody decides.
        let _ = self.0.send(command);
        Reserve(decision)
    }

    fn settle(&self, mut held: Held, actual: Units) -> Settled {
        held.actual = actual;
        drop(held);
        Settled::Queued
    }
}

/// An open reservation. Dropping it settles it: wherever a decision is lost on its way to the
/// layer, be it in the driver, in the channel or in a future, the charge is given back.
#[derive(Debug)]
pub(crate) struct Held {
    id: u64,
    actual: Units,
    store: SharedStore,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.store.0.send(Command::Settle(self.id, self.actual));
    }
}

/// Waits for the counter's decision.
#[derive(Debug)]
pub(crate) struct Reserve(oneshot::Receiver<Decision<Held>>);

impl Future for Reserve {
    type Output = Result<Decision<Held>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let decision = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(decision.map_err(|_| StoreError::new("the counter does not answer")))
    }
}

/// The task that talks with the counter.
struct Driver {
    /// The last reservation's name. None is used twice, whatever the connection.
    names: u64,
    commands: mpsc::WeakUnboundedSender<Command>,
    queue: mpsc::UnboundedReceiver<Command>,
}

impl Driver {
    /// Connects when somebody asks, and again when somebody asks after a failure.
    async fn run(mut self, counter: String) {
        while let Some(first) = self.queue.recv().await {
            if let Err(error) = self.ask(&counter, first).await {
                eprintln!("counter: {error}");
            }
            // Dropping these answers them: nobody decides. What was to be settled stays charged
            // until it leaves the window.
            while self.queue.try_recv().is_ok() {}
        }
    }

    async fn ask(&mut self, counter: &str, first: Command) -> io::Result<()> {
        let due = || Instant::now() + PATIENCE;
        let stream = timeout_at(due(), TcpStream::connect(counter)).await??;
        stream.set_nodelay(true)?;
        let (answers, mut asks) = stream.into_split();
        let mut answers = BufReader::new(answers).lines();
        // Who waits for an answer, in their order.
        let mut waiting = VecDeque::new();
        let mut next = Some(first);
        loop {
            if let Some(command) = next.take() {
                let ask = match command {
                    Command::Reserve(Units { requests, tokens }, target, reply) => {
                        self.names += 1;
                        waiting.push_back((self.names, due(), reply));
                        Ask {
                            id: self.names,
                            requests,
                            tokens,
                            charge: Some(target),
                        }
                    }
                    Command::Settle(id, Units { requests, tokens }) => Ask {
                        id,
                        requests,
                        tokens,
                        charge: None,
                    },
                };
                let line = serde_json::to_string(&ask)? + "\n";
                timeout_at(due(), asks.write_all(line.as_bytes())).await??;
            }
            let patience = waiting.front().map_or_else(due, |(_, due, _)| *due);
            tokio::select! {
                line = answers.next_line() => {
                    let line = line?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    let (id, _, reply) = waiting.pop_front().ok_or(io::ErrorKind::InvalidData)?;
                    self.decide(id, serde_json::from_str(&line)?, reply);
                }
                command = self.queue.recv() => match command {
                    Some(command) => next = Some(command),
                    None => return Ok(()),
                },
                () = sleep_until(patience), if !waiting.is_empty() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    fn decide(&self, id: u64, answer: Answer, reply: Reply) {
        // Without a store nobody waits for it, and the connection is about to close.
        let Some(commands) = self.commands.upgrade() else {
            return;
        };
        let decision = answer.decision(|| Held {
            id,
            actual: Units::ZERO,
            store: SharedStore(commands),
        });
        // Whoever has left drops the reservation, which gives it back.
        let _ = reply.send(decision);
    }
}
