//! One SQL text for both databases, with its arguments.
//!
//! What the rooms keep to, so that a text means the same on both: `$1` parameters; integers are
//! BIGINT; a sum is cast back to BIGINT; JSON stands in TEXT columns; `CASE` rather than a `max` of
//! two. `{rows}` in a `FROM` is a source of the elements of the JSON array `$1`, in the column
//! `value`; `CAST(value->>0 AS BIGINT)` takes them apart.

use sqlx::{
    AssertSqlSafe, FromRow, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{Db, Write};

/// A value that a statement takes.
#[derive(Debug, Clone)]
pub enum Arg {
    /// Text or null.
    Text(Option<String>),
    /// An integer or null.
    Int(Option<i64>),
    /// A real number or null.
    Real(Option<f64>),
    /// A truth value.
    Bool(bool),
}

macro_rules! arg {
    ($($type:ty => |$value:ident| $arg:expr;)*) => {$(
        impl From<$type> for Arg {
            fn from($value: $type) -> Self {
                $arg
            }
        }
    )*};
}

arg! {
    &str => |v| Self::Text(Some(v.to_owned()));
    String => |v| Self::Text(Some(v));
    &String => |v| Self::Text(Some(v.clone()));
    Option<&str> => |v| Self::Text(v.map(str::to_owned));
    Option<String> => |v| Self::Text(v);
    Option<&String> => |v| Self::Text(v.cloned());
    &Option<String> => |v| Self::Text(v.clone());
    i64 => |v| Self::Int(Some(v));
    Option<i64> => |v| Self::Int(v);
    u32 => |v| Self::Int(Some(v.into()));
    f64 => |v| Self::Real(Some(v));
    Option<f64> => |v| Self::Real(v);
    bool => |v| Self::Bool(v);
}

/// What a statement runs on: a database, for reading, or a write transaction.
#[derive(Debug)]
pub enum On<'a> {
    /// SQLite, reading.
    SqliteRead(&'a SqlitePool),
    /// SQLite, writing.
    SqliteWrite(&'a mut SqliteConnection),
    /// PostgreSQL, reading.
    PostgresRead(&'a PgPool),
    /// PostgreSQL, writing.
    PostgresWrite(&'a mut PgConnection),
}

impl<'a> From<&'a Db> for On<'a> {
    fn from(db: &'a Db) -> Self {
        match db {
            Db::Sqlite { readers, .. } => Self::SqliteRead(readers),
            Db::Postgres { readers, .. } => Self::PostgresRead(readers),
        }
    }
}

impl<'a> From<&'a mut Write> for On<'a> {
    fn from(tx: &'a mut Write) -> Self {
        match tx {
            Write::Sqlite(tx) => Self::SqliteWrite(tx),
            Write::Postgres(tx) => Self::PostgresWrite(tx),
        }
    }
}

impl On<'_> {
    pub(super) const fn is_sqlite(&self) -> bool {
        matches!(self, Self::SqliteRead(_) | Self::SqliteWrite(_))
    }
}

/// What a row of either database becomes: whatever derives [`FromRow`], and tuples.
pub trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin> Record for T {}

/// A column of either database.
pub trait Column:
    for<'r> sqlx::Decode<'r, Sqlite>
    + sqlx::Type<Sqlite>
    + for<'r> sqlx::Decode<'r, Postgres>
    + sqlx::Type<Postgres>
    + Send
    + Unpin
{
}

impl<T> Column for T where
    T: for<'r> sqlx::Decode<'r, Sqlite>
        + sqlx::Type<Sqlite>
        + for<'r> sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
        + Send
        + Unpin
{
}

/// A statement and its arguments.
#[derive(Debug)]
pub struct Sql {
    text: String,
    args: Vec<Arg>,
}

/// A statement.
#[must_use]
pub fn sql(text: &'static str) -> Sql {
    Sql { text: text.to_owned(), args: Vec::new() }
}

/// A statement of parts. All are the program's own: nothing of a request is ever in the text.
#[must_use]
pub fn joined(parts: &[&'static str]) -> Sql {
    Sql { text: parts.concat(), args: Vec::new() }
}

/// Runs `$body` with `$query` made for the backend of `$on`, and `$to` to run it on.
macro_rules! dispatch {
    ($on:expr, $statement:expr, $make:ident, |$query:ident, $to:ident| $body:expr) => {{
        let on = $on;
        let text = AssertSqlSafe($statement.text(on.is_sqlite()));
        match on {
            On::SqliteRead($to) => {
                let $query = sqlx::$make::<Sqlite, _>(text, $statement.sqlite());
                $body
            }
            On::SqliteWrite($to) => {
                let $query = sqlx::$make::<Sqlite, _>(text, $statement.sqlite());
                $body
            }
            On::PostgresRead($to) => {
                let $query = sqlx::$make::<Postgres, _>(text, $statement.postgres());
                $body
            }
            On::PostgresWrite($to) => {
                let $query = sqlx::$make::<Postgres, _>(text, $statement.postgres());
                $body
            }
        }
    }};
    ($on:expr, $statement:expr, $make:ident as $type:ty, |$query:ident, $to:ident| $body:expr) => {{
        let on = $on;
        let text = AssertSqlSafe($statement.text(on.is_sqlite()));
        match on {
            On::SqliteRead($to) => {
                let $query = sqlx::$make::<Sqlite, $type, _>(text, $statement.sqlite());
                $body
            }
            On::SqliteWrite($to) => {
                let $query = sqlx::$make::<Sqlite, $type, _>(text, $statement.sqlite());
                $body
            }
            On::PostgresRead($to) => {
                let $query = sqlx::$make::<Postgres, $type, _>(text, $statement.postgres());
                $body
            }
            On::PostgresWrite($to) => {
                let $query = sqlx::$make::<Postgres, $type, _>(text, $statement.postgres());
                $body
            }
        }
    }};
}

impl Sql {
    /// A statement that this room has put together, of the schema's own names.
    pub(super) const fn of(text: String) -> Self {
        Self { text, args: Vec::new() }
    }

    /// The next parameter's value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Runs it; how many rows it changed.
    ///
    /// # Errors
    /// The database's.
    pub async fn run(self, on: impl Into<On<'_>>) -> sqlx::Result<u64> {
        dispatch!(on.into(), self, query_with, |query, to| Ok(query
            .execute(to)
            .await?
            .rows_affected()))
    }

    /// All rows.
    ///
    /// # Errors
    /// The database's.
    pub async fn all<T: Record>(self, on: impl Into<On<'_>>) -> sqlx::Result<Vec<T>> {
        dispatch!(on.into(), self, query_as_with as T, |query, to| query.fetch_all(to).await)
    }

    /// The row, where there is one.
    ///
    /// # Errors
    /// The database's.
    pub async fn optional<T: Record>(self, on: impl Into<On<'_>>) -> sqlx::Result<Option<T>> {
        dispatch!(on.into(), self, query_as_with as T, |query, to| query.fetch_optional(to).await)
    }

    /// The one row.
    ///
    /// # Errors
    /// The database's, or that there is none.
    pub async fn one<T: Record>(self, on: impl Into<On<'_>>) -> sqlx::Result<T> {
        self.optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first column of all rows.
    ///
    /// # Errors
    /// The database's.
    pub async fn values<T: Column>(self, on: impl Into<On<'_>>) -> sqlx::Result<Vec<T>> {
        let rows: Vec<(T,)> = self.all(on).await?;
        Ok(rows.into_iter().map(|(value,)| value).collect())
    }

    /// The first column of the row, where there is one.
    ///
    /// # Errors
    /// The database's.
    pub async fn optional_value<T: Column>(self, on: impl Into<On<'_>>) -> sqlx::Result<Option<T>> {
        let row: Option<(T,)> = self.optional(on).await?;
        Ok(row.map(|(value,)| value))
    }

    /// The first column of the one row.
    ///
    /// # Errors
    /// The database's, or that there is none.
    pub async fn value<T: Column>(self, on: impl Into<On<'_>>) -> sqlx::Result<T> {
        let (value,): (T,) = self.one(on).await?;
        Ok(value)
    }

    fn text(&self, sqlite: bool) -> String {
        if !self.text.contains("{rows}") {
            return self.text.clone();
        }
        let source = if sqlite {
            "json_each($1)"
        } else {
            "json_array_elements(CAST($1 AS json)) AS rows(value)"
        };
        self.text.replace("{rows}", source)
    }

    fn sqlite(&self) -> SqliteArguments {
        let mut all = SqliteArguments::default();
        for arg in &self.args {
            match arg {
                Arg::Text(v) => add(&mut all, v.clone()),
                Arg::Int(v) => add(&mut all, *v),
                Arg::Real(v) => add(&mut all, *v),
                Arg::Bool(v) => add(&mut all, *v),
            }
        }
        all
    }

    fn postgres(&self) -> PgArguments {
        let mut all = PgArguments::default();
        for arg in &self.args {
            match arg {
                // PostgreSQL's text holds no NUL, bare or as JSON's escape.
                Arg::Text(Some(v)) if v.contains('\0') || v.contains("\\u0000") => {
                    add(&mut all, v.replace('\0', "\u{fffd}").replace("\\u0000", "\\ufffd"));
                }
                Arg::Text(v) => add(&mut all, v.clone()),
                Arg::Int(v) => add(&mut all, *v),
                Arg::Real(v) => add(&mut all, *v),
                Arg::Bool(v) => add(&mut all, *v),
            }
        }
        all
    }
}

fn add<A: sqlx::Arguments, T>(all: &mut A, value: T)
where
    T: for<'t> sqlx::Encode<'t, A::Database> + sqlx::Type<A::Database>,
{
    // Text, integers, reals and truth values always encode.
    if let Err(error) = all.add(value) {
        tracing::error!(error, "a statement's argument can't be encoded");
    }
}
