//! Whole tables, read at one moment and written back, on either database. A row is a JSON object
//! by column, with the same values on both: what one wrote the other reads. (A real number, which
//! goes through its decimal form, may differ in its last bit.)

use futures_util::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Postgres, Row, Sqlite, Transaction, Type};
use tokio::sync::mpsc;

use super::{Db, On, Sql, Write, sql};
use crate::error::{Error, Result};

/// Rows that are handed on at once.
const BATCH: usize = 500;

/// All of the database as it was at one moment, however long it is read.
#[derive(Debug)]
pub enum Snapshot {
    /// Of SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// Of PostgreSQL.
    Postgres(Transaction<'static, Postgres>),
}

impl<'a> From<&'a mut Snapshot> for On<'a> {
    fn from(snapshot: &'a mut Snapshot) -> Self {
        match snapshot {
            Snapshot::Sqlite(tx) => Self::SqliteWrite(tx),
            Snapshot::Postgres(tx) => Self::PostgresWrite(tx),
        }
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Real,
    Bool,
}

impl Kind {
    const fn cast(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Int => "BIGINT",
            Self::Real => "DOUBLE PRECISION",
            Self::Bool => "BOOLEAN",
        }
    }
}

/// A table's columns, as this database has them.
#[derive(Debug, Clone)]
pub struct Table {
    name: &'static str,
    columns: Vec<(String, Kind)>,
}

impl Db {
    /// Begins to read at one moment.
    ///
    /// # Errors
    /// The database's.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = match self {
            Self::Sqlite { readers, .. } => Snapshot::Sqlite(readers.begin().await?),
            Self::Postgres { readers, .. } => {
                let mut tx =
                    readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                // A large table takes as long as it takes.
                sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
                Snapshot::Postgres(tx)
            }
        };
        // The moment is that of the first statement.
        sql("SELECT count(*) FROM _sqlx_migrations").value::<i64>(&mut snapshot).await?;
        Ok(snapshot)
    }

    /// The number of the last migration.
    ///
    /// # Errors
    /// The database's.
    pub async fn schema(&self) -> Result<i64> {
        Ok(sql("SELECT max(version) FROM _sqlx_migrations").value(self).await?)
    }
}

impl Table {
    /// The table `name`, as it is.
    ///
    /// # Errors
    /// API-007 when there is none.
    pub async fn of(on: impl Into<On<'_>>, name: &'static str) -> Result<Self> {
        let on = on.into();
        let found: Vec<(String, String)> = if on.is_sqlite() {
            sql("SELECT name, type FROM pragma_table_info($1)")
        } else {
            sql("SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) \
                 FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = $1 \
                 ORDER BY ordinal_position")
        }
        .bind(name)
        .all(on)
        .await?;
        if found.is_empty() {
            return Err(Error::internal(format!("there is no table {name}")));
        }
        let kind = |declared: String| match declared.to_ascii_uppercase() {
            t if t.contains("INT") => Kind::Int,
            t if t.contains("BOOL") => Kind::Bool,
            t if t.contains("REAL") || t.contains("DOUBLE") => Kind::Real,
            _ => Kind::Text,
        };
        let columns = found.into_iter().map(|(name, declared)| (name, kind(declared))).collect();
        Ok(Self { name, columns })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Sends all rows that match `only`, a condition of the program's own, in a fixed order and in
    /// batches. Ends early when nobody receives them any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(
        &self,
        snapshot: &mut Snapshot,
        only: Option<&'static str>,
        rows: mpsc::Sender<Vec<Map<String, Value>>>,
    ) -> Result<()> {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let key: Vec<_> = (1..=names.len().min(3)).map(|at| at.to_string()).collect();
        let text = AssertSqlSafe(format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {}",
            names.join(", "),
            self.name,
            only.unwrap_or("1 = 1"),
            key.join(", "),
        ));
        let mut batch = Vec::new();
        match snapshot {
            Snapshot::Sqlite(tx) => {
                let mut found = sqlx::query(text).fetch(&mut **tx);
                while let Some(row) = found.try_next().await? {
                    batch.push(self.object(&row)?);
                    if batch.len() == BATCH && rows.send(std::mem::take(&mut batch)).await.is_err()
                    {
                        return Ok(());
                    }
                }
            }
            Snapshot::Postgres(tx) => {
                let mut found = sqlx::query(text).fetch(&mut **tx);
                while let Some(row) = found.try_next().await? {
                    batch.push(self.object(&row)?);
                    if batch.len() == BATCH && rows.send(std::mem::take(&mut batch)).await.is_err()
                    {
                        return Ok(());
                    }
                }
            }
        }
        // The last ones; whoever does not receive them has a reason of his own.
        let _ = rows.send(batch).await;
        Ok(())
    }

    fn object<'r, R: Row>(&self, row: &'r R) -> Result<Map<String, Value>>
    where
        usize: ColumnIndex<R>,
        Option<String>: Decode<'r, R::Database> + Type<R::Database>,
        Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
        Option<f64>: Decode<'r, R::Database> + Type<R::Database>,
        Option<bool>: Decode<'r, R::Database> + Type<R::Database>,
    {
        fn get<'r, R: Row, T>(row: &'r R, at: usize) -> Result<Value>
        where
            usize: ColumnIndex<R>,
            Option<T>: Decode<'r, R::Database> + Type<R::Database>,
            T: Into<Value>,
        {
            Ok(row.try_get::<Option<T>, _>(at)?.map_or(Value::Null, Into::into))
        }
        let mut object = Map::new();
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let value = match kind {
                Kind::Text => get::<R, String>(row, at)?,
                Kind::Int => get::<R, i64>(row, at)?,
                Kind::Real => get::<R, f64>(row, at)?,
                Kind::Bool => get::<R, bool>(row, at)?,
            };
            object.insert(name.clone(), value);
        }
        Ok(object)
    }

    /// Whether this is a row of the table. A column that it lacks gets its default.
    ///
    /// # Errors
    /// API-001 with what it is that does not fit.
    pub fn check(&self, row: &Map<String, Value>) -> Result<()> {
        for (name, value) in row {
            let known = self.columns.iter().find(|(column, _)| column == name);
            let fits = match (known.map(|(_, kind)| *kind), value) {
                (Some(Kind::Text | Kind::Int | Kind::Real), Value::Null)
                | (Some(Kind::Text), Value::String(_))
                | (Some(Kind::Bool), Value::Bool(_)) => true,
                (Some(Kind::Int), Value::Number(n)) => n.is_i64(),
                (Some(Kind::Real), Value::Number(_)) => true,
                _ => false,
            };
            if !fits {
                return Err(Error::invalid(format!(
                    "column {name} of table {} is not as this hub knows it",
                    self.name
                )));
            }
        }
        Ok(())
    }

    /// Inserts rows that [`Self::check`] has seen, all with the same columns as the first.
    /// `conflict` is the program's own `ON CONFLICT` clause.
    ///
    /// # Errors
    /// The database's.
    pub async fn insert(
        &self,
        tx: &mut Write,
        rows: &[Map<String, Value>],
        conflict: &'static str,
    ) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let columns: Vec<_> =
            self.columns.iter().filter(|(name, _)| first.contains_key(name)).collect();
        if columns.is_empty() {
            return Err(Error::invalid(format!("a row of table {} is empty", self.name)));
        }
        let names: Vec<_> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let values: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(at, (_, kind))| format!("CAST(value->>{at} AS {})", kind.cast()))
            .collect();
        // One parameter: with one for each value, SQLite takes as long as their number squared.
        let rows: Vec<Vec<_>> = rows
            .iter()
            .map(|row| {
                columns.iter().map(|(name, _)| row.get(name).unwrap_or(&Value::Null)).collect()
            })
            .collect();
        Sql::of(format!(
            "INSERT INTO {} ({}) SELECT {} FROM {{rows}} WHERE 1 = 1 {conflict}",
            self.name,
            names.join(", "),
            values.join(", "),
        ))
        .bind(serde_json::to_string(&rows).map_err(Error::internal)?)
        .run(tx)
        .await?;
        Ok(())
    }

    /// After rows came with ids of their own: new rows get higher ones.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle_ids(&self, tx: &mut Write) -> Result<()> {
        // SQLite counts on from the highest by itself.
        if matches!(tx, Write::Postgres(_)) && self.columns.iter().any(|(name, _)| name == "id") {
            Sql::of(format!(
                "SELECT setval(pg_get_serial_sequence('{0}', 'id'), \
                 (SELECT coalesce(max(id), 0) + 1 FROM {0}), false)",
                self.name
            ))
            .run(tx)
            .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use serde_json::json;

    use super::*;

    async fn rows(db: &Db, table: &Table) -> Vec<Map<String, Value>> {
        let (sender, mut receiver) = mpsc::channel(100);
        table.read(&mut db.snapshot().await.unwrap(), None, sender).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = receiver.recv().await {
            all.extend(batch);
        }
        all
    }

    #[tokio::test]
    async fn what_was_read_is_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
        let table = Table::of(&db, "detections").await.unwrap();
        // Reals of all sizes, and text that is anything but plain.
        let mut seed = 1_u64;
        let mut real = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // From 1e-15 to 1e15.
            let size = f64::from(i32::try_from(seed >> 59).unwrap()) - 15.0;
            f64::from_bits(seed >> 12 | 0x3ff << 52) * 10_f64.powf(size)
        };
        let written: Vec<Map<String, Value>> = (1..=2000_i64)
            .map(|id| {
                json!({
                    "id": id, "device_id": "d", "track_id": i64::MAX - id, "phase": "started",
                    "object": format!("\"{id}\" \\ {{}} \u{1f980} \0 \u{7f} true null 1e5"),
                    "confidence": real(), "bounding_box": "{\"x\":1}", "frame_width": 0,
                    "frame_height": -1, "model": "", "captured_at": i64::MIN, "received_at": id,
                    "latency_us": 0, "zones": null, "detection_id": null,
                })
                .as_object()
                .unwrap()
                .clone()
            })
            .collect();
        written.iter().for_each(|row| table.check(row).unwrap());
        let mut tx = db.write().await.unwrap();
        table.insert(&mut tx, &written, "").await.unwrap();
        table.settle_ids(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let read = rows(&db, &table).await;
        assert_eq!(read.len(), written.len());
        for (read, written) in read.into_iter().zip(written) {
            assert_eq!(read, written);
        }
    }

    #[tokio::test]
    async fn a_row_of_another_shape_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
        let table = Table::of(&db, "tokens").await.unwrap();
        for (row, fits) in [
            (json!({ "id": 1, "used": true, "description": null }), true),
            (json!({ "id": 1.5 }), false),
            (json!({ "id": "1" }), false),
            (json!({ "id": u64::MAX }), false),
            (json!({ "used": 1 }), false),
            (json!({ "used": null }), false),
            (json!({ "node_name": 1 }), false),
            (json!({ "node_name": ["a"] }), false),
            (json!({ "\"; DROP TABLE tokens; --": 1 }), false),
        ] {
            assert_eq!(table.check(row.as_object().unwrap()).is_ok(), fits, "{row}");
        }
        Table::of(&db, "nothing").await.unwrap_err();
    }
}
