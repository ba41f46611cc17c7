//! The thread that owns the database, and the group commit.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Counts, OutboxError,
    bounds::{Bounds, Limits},
    counts, schema,
};

/// Jobs that may wait for the thread; who comes later waits to hand his over.
const QUEUE: usize = 1024;
/// Most jobs of one transaction.
const GROUP: usize = 256;

/// Something to do in a transaction. May be done again after a rollback.
trait Job: Send {
    fn work(&mut self, db: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, result: Result<(), &str>);
}

struct Call<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, OutboxError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
{
    fn work(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.value = Some((self.work)(db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), &str>) {
        let answer = match (result, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(OutboxError::Closed),
            (Err(problem), _) => Err(OutboxError::Storage(problem.to_owned())),
        };
        // Who asked may have gone away; what was asked is done all the same.
        self.reply.send(answer).ok();
    }
}

pub(super) struct Thread {
    /// Set by a job that has erased something: the log still has it.
    erased: Arc<AtomicBool>,
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thread")
    }
}

impl Thread {
    pub(super) fn start(
        db: Connection,
        limits: Limits,
    ) -> Result<(Self, watch::Receiver<Counts>), OutboxError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (announce, announced) = watch::channel(counts(&db)?);
        let (end, ended) = oneshot::channel();
        let erased = Arc::new(AtomicBool::new(false));
        let to_erase = Arc::clone(&erased);
        thread::Builder::new()
            .name("outbox".into())
            .spawn(move || {
                run(&db, queue, &announce, Bounds::new(limits), &to_erase);
                // The last connection folds the log into the database.
                if let Err((_, error)) = db.close() {
                    tracing::warn!(%error, "closing the outbox");
                }
                end.send(()).ok();
            })
            .map_err(|e| OutboxError::Storage(e.to_string()))?;
        let thread = Self { erased, jobs: Mutex::new(Some(jobs)), ended: Mutex::new(Some(ended)) };
        Ok((thread, announced))
    }

    /// To be set by a job that has erased something: then the log is emptied before the answer.
    pub(super) fn erased(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.erased)
    }

    /// Does `work` in a transaction, and says so after the commit.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let (reply, answer) = oneshot::channel();
        let jobs = locked(&self.jobs).clone().ok_or(OutboxError::Closed)?;
        jobs.send(Box::new(Call { work, value: None, reply }))
            .await
            .map_err(|_| OutboxError::Closed)?;
        answer.await.map_err(|_| OutboxError::Closed)?
    }

    pub(super) async fn close(&self) {
        locked(&self.jobs).take();
        let ended = locked(&self.ended).take();
        if let Some(ended) = ended {
            ended.await.ok();
        }
    }
}

fn run(
    db: &Connection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    announce: &watch::Sender<Counts>,
    mut bounds: Bounds,
    erased: &AtomicBool,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = queue.try_recv()
        {
            group.push(next);
        }
        let results: Vec<Result<(), String>> = match transaction(db, &mut group, &mut bounds) {
            Ok(()) => group.iter().map(|_| Ok(())).collect(),
            // One job spoils the group: each on its own, so that only its caller suffers.
            Err(_) if group.len() > 1 => group
                .chunks_mut(1)
                .map(|alone| transaction(db, alone, &mut bounds).map_err(|e| e.to_string()))
                .collect(),
            Err(error) => vec![Err(error.to_string())],
        };
        if erased.load(Ordering::Relaxed) {
            // One who reads at this moment keeps the log: it is emptied with the next job then.
            match schema::empty_log(db) {
                Ok(emptied) => erased.store(!emptied, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "the outbox's log is not emptied"),
            }
        }
        match counts(db) {
            // A reader must not wake those who wait for something to read.
            Ok(now) => drop(announce.send_if_modified(|known| {
                let changed = *known != now;
                *known = now;
                changed
            })),
            Err(error) => tracing::warn!(%error, "counting the outbox"),
        }
        // Last, so that who hears of it sees it in the counts.
        for (job, result) in group.into_iter().zip(results) {
            job.answer(result.as_ref().copied().map_err(String::as_str));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn transaction(
    db: &Connection,
    jobs: &mut [Box<dyn Job>],
    bounds: &mut Bounds,
) -> rusqlite::Result<()> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = jobs
        .iter_mut()
        .try_for_each(|job| job.work(db))
        .and_then(|()| bounds.enforce(db))
        .and_then(|dropped| db.prepare_cached("COMMIT")?.execute([]).map(|_| dropped));
    match done {
        Ok(dropped) => bounds.committed(dropped),
        // On some errors (a full disk) SQLite has rolled back already.
        Err(_) if !db.is_autocommit() => drop(db.execute_batch("ROLLBACK")),
        Err(_) => {}
    }
    done.map(drop)
}
