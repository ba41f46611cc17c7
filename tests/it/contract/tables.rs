//! Contract, "Database Schema": the three tables, on PostgreSQL, where sizes are kept. Times are
//! microseconds and JSON is text in both databases, as ARCHITECTURE.md says; names and sizes are
//! the contract's.

use std::collections::BTreeMap;

use super::{facts, page::Page};
use crate::{
    postgres,
    world::{Store, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_columns_are_there() {
    let database = postgres::shared().database();
    let world = World::start_on(Store::Postgres(database), &[]).await;
    let Store::Postgres(database) = &world.store else { unreachable!("it was started so") };
    let page = Page::read();
    for fact in facts::of("tables.rs::the_documented_columns_are_there") {
        let table = fact.text.split(' ').nth(2).expect("a name");
        let statement = format!(
            "SELECT column_name || ' ' || coalesce('VARCHAR(' || character_maximum_length || ')', \
             '') FROM information_schema.columns WHERE table_name = '{table}'"
        );
        let real = database.sql(&statement).expect("it can be asked");
        let real: BTreeMap<_, _> = real.lines().filter_map(|line| line.split_once(' ')).collect();
        let columns = page.lines[fact.line..].iter().take_while(|line| *line != ");");
        let mut seen = 0;
        for column in columns {
            let mut words = column.split_whitespace();
            let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
            let size = real.get(name).unwrap_or_else(|| panic!("{table} has no {name}: {real:?}"));
            if kind.starts_with("VARCHAR") {
                assert_eq!(*size, kind.trim_end_matches(','), "{table}.{name}");
            }
            seen += 1;
        }
        assert!(seen >= 7, "{table} was not understood");
    }
}
