//! Secrets among a command's parameters. The table has the parameters without them, and beside
//! that the whole, sealed by the hub's key, until the command has ended. Who reads the database
//! without the hub's key, or a backup, finds none.

use std::fmt;

use cloudcore_protocol::{
    CommandId,
    command::{CommandError, Task, without_secrets},
};
use serde_json::{Value, json};

use super::{Change, Commands, Ending, Event, MAX_PARAMETERS, Row, State, apply, store};
use crate::{
    db::Db,
    error::{Error, Result},
    keys::Keys,
};

/// Parameters that were understood, or are of a command that only an agent knows.
pub(super) struct Parameters {
    /// As the device is told; JSON.
    pub whole: String,
    /// As they are kept, where that is something else.
    shown: Option<String>,
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameters({})", self.shown())
    }
}

impl Parameters {
    /// # Errors
    /// API-001 for bad or too large ones.
    pub fn of(command: &str, parameters: &Value) -> Result<Self> {
        let whole = match Task::parse(command, parameters) {
            // A newer agent may know it; an older one says that it does not.
            Ok(_) | Err(CommandError::Unknown(_)) => parameters.to_string(),
            Err(bad @ CommandError::Parameters { .. }) => {
                return Err(Error::invalid(bad.to_string()));
            }
        };
        if whole.len() > MAX_PARAMETERS {
            let message = format!("parameters must have at most {MAX_PARAMETERS} bytes");
            return Err(Error::invalid(message));
        }
        Ok(Self { whole, shown: without_secrets(command, parameters).map(|v| v.to_string()) })
    }

    /// Without the secrets.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.whole)
    }

    /// The whole, for this command's row; `None` where there are no secrets.
    ///
    /// # Errors
    /// API-007 when the operating system gives no random bytes.
    pub fn seal(&self, keys: &Keys, id: &CommandId) -> Result<Option<String>> {
        let seal = |_: &String| keys.seal.seal(&context(id), self.whole.as_bytes());
        self.shown.as_ref().map(seal).transpose()
    }
}

fn context(id: &CommandId) -> String {
    format!("command {id}")
}

impl Commands {
    /// The parameters of an open command as its device is told them; `None` where its secrets are
    /// lost: it came back with a backup, which has none, or was sealed by another hub's key.
    pub(super) fn whole(&self, row: &Row) -> Option<String> {
        if !row.hidden {
            return Some(row.parameters.clone());
        }
        let opened = self.keys.seal.open(&context(&row.id), row.sealed.as_ref()?);
        opened.ok().and_then(|whole| String::from_utf8(whole).ok())
    }

    /// Ends commands that can't be sent, for want of their secrets.
    pub(super) async fn end_lost(&self, lost: &[CommandId]) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let why =
            "its parameters hold secrets, which this hub does not have any more: send it again";
        let result = json!({ "success": false, "error": "secrets_lost", "message": why });
        let ending = Ending { result: Some(result), duration_micros: None };
        let mut tx = self.db.write().await?;
        let mut changes: Vec<Change> = Vec::new();
        for id in lost {
            changes.extend(apply(&mut tx, id, None, Event::Fail, &ending).await?);
        }
        self.commit(tx, &changes).await
    }
}

/// Takes the secrets out of commands that an older hub has stored: those of an older database,
/// and of an older backup.
///
/// # Errors
/// The database's.
pub async fn hide_secrets(db: &Db, keys: &Keys) -> Result<()> {
    let mut hidden = 0_usize;
    loop {
        let mut tx = db.write().await?;
        let unseen = store::unseen(&mut tx).await?;
        if unseen.is_empty() {
            break;
        }
        let mut harmless = Vec::new();
        for old in unseen {
            let Some(shown) = old.shown() else {
                harmless.push(old.id);
                continue;
            };
            let open = State::parse(&old.status).is_some_and(|state| !state.is_final());
            let id: CommandId = old.command_id.parse().map_err(Error::internal)?;
            let seal = || keys.seal.seal(&context(&id), old.parameters.as_bytes());
            let sealed = open.then(seal).transpose()?;
            store::hide(&mut tx, old.id, &shown, sealed).await?;
            hidden += 1;
        }
        store::set_harmless(&mut tx, &harmless).await?;
        tx.commit().await?;
    }
    if hidden > 0 {
        tracing::info!(commands = hidden, "secrets of older commands are taken out");
        db.scrub("commands").await;
    }
    Ok(())
}

/// A command that an older hub has stored.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Unseen {
    id: i64,
    command_id: String,
    command_type: String,
    parameters: String,
    status: String,
}

impl Unseen {
    fn shown(&self) -> Option<String> {
        // What is no JSON was never sent.
        let parameters: Value = serde_json::from_str(&self.parameters).unwrap_or(Value::Null);
        without_secrets(&self.command_type, &parameters).map(|shown| shown.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_sealed_for_one_command_and_nobody_is_shown_it() {
        let keys = Keys::of(&[7; 32]).unwrap();
        let told = json!({ "camera": "rtsp://eve:s3cret@cam/" });
        let parameters = Parameters::of("set_config", &told).unwrap();
        assert!(!format!("{parameters:?}").contains("s3cret"));
        let (id, other) = (CommandId::generate(), CommandId::generate());
        let sealed = parameters.seal(&keys, &id).unwrap().unwrap();
        assert_eq!(keys.seal.open(&context(&id), &sealed).unwrap(), told.to_string().as_bytes());
        assert!(keys.seal.open(&context(&other), &sealed).is_err());
        let plain = Parameters::of("ping", &Value::Null).unwrap();
        assert_eq!(plain.seal(&keys, &id).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_told_without_its_secrets() {
        let wrong = json!({ "confidence": "rtsp://eve:s3cret@cam/" });
        let error = Parameters::of("set_config", &wrong).unwrap_err();
        assert!(!error.message.contains("s3cret"), "{}", error.message);
    }
}
