//! Everything that lasts, out of the file of an app.

use super::{
    Calendar, OpenError,
    database::unsigned,
    rows::{self, Damage},
};
use crate::core::{Image, Marks, PluginName, Uid};
use rusqlite::{Connection, Row};
use std::path::Path;

/// How often progress is told, in rows.
pub(super) const ROWS_PER_PROGRESS: u64 = 10_000;

/// What is left of a store while it is read.
pub(super) struct Load<'a> {
    pub connection: &'a Connection,
    pub path: &'a Path,
    pub calendar: Calendar,
    /// Rows that were read, and how many there are.
    pub done: u64,
    pub all: u64,
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl Load<'_> {
    /// # Errors
    /// If something cannot be read, or is damaged.
    pub fn run(mut self) -> Result<Image, OpenError> {
        let calendar = self.calendar;
        let mut image = Image::default();
        self.each("life", "SELECT next_id FROM life", |row| {
            image.next_id = unsigned(row, 0)?;
            Ok(Ok(()))
        })?;
        self.each("mailbox", "SELECT uid, row FROM mailbox", |row| {
            let uid = Uid(unsigned(row, 0)?);
            let kept = rows::decode_mailbox(uid, row.get_ref(1)?.as_blob()?, calendar);
            Ok(kept.map(|kept| {
                image.mailboxes.insert(uid, (kept, Marks::default()));
            }))
        })?;
        self.each("marks", "SELECT uid, row FROM marks", |row| {
            let uid = Uid(unsigned(row, 0)?);
            Ok(rows::decode_marks(row.get_ref(1)?.as_blob()?).map(|marks| {
                if let Some((_, old)) = image.mailboxes.get_mut(&uid) {
                    *old = marks;
                }
            }))
        })?;
        self.each("message", "SELECT id, expires, row FROM message", |row| {
            let (id, expires) = (unsigned(row, 0)?, calendar.mono(unsigned(row, 1)?));
            Ok(rows::decode_sent(id, expires, row.get_ref(2)?.as_blob()?).map(|sent| {
                image.messages.insert(id, sent);
            }))
        })?;
        self.each("superseded", "SELECT message, uid FROM superseded", |row| {
            image.superseded.insert((unsigned(row, 0)?, Uid(unsigned(row, 1)?)));
            Ok(Ok(()))
        })?;
        self.each("timer", "SELECT plugin, name, at FROM timer", |row| {
            let plugin = PluginName(row.get::<_, String>(0)?.into());
            let name = row.get::<_, String>(1)?.into();
            image.timers.insert((plugin, name), calendar.mono(unsigned(row, 2)?));
            Ok(Ok(()))
        })?;
        self.each("value", "SELECT key, value, sum FROM value", |row| {
            let (value, sum) = (row.get::<_, Vec<u8>>(1)?, row.get::<_, u32>(2)?);
            if crc32fast::hash(&value) != sum {
                return Ok(Err(Damage::Checksum));
            }
            image.values.insert(row.get::<_, String>(0)?.into(), value.into());
            Ok(Ok(()))
        })?;
        self.each("epitaph", "SELECT until, row FROM epitaph ORDER BY rowid", |row| {
            let until = calendar.mono(unsigned(row, 0)?);
            let epitaph = rows::decode_epitaph(until, row.get_ref(1)?.as_blob()?);
            Ok(epitaph.map(|epitaph| image.epitaphs.push(epitaph)))
        })?;
        self.each("published", "SELECT n, until, row FROM published ORDER BY n", |row| {
            let until = calendar.mono(unsigned(row, 1)?);
            let kept = rows::decode_published(until, row.get_ref(2)?.as_blob()?);
            Ok(kept.map(|kept| image.published.push(kept)))
        })?;
        Ok(image)
    }

    fn each(
        &mut self,
        table: &'static str,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<(), Damage>>,
    ) -> Result<(), OpenError> {
        let path = self.path;
        let failed = |error| OpenError::of(path, error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            take(row).map_err(failed)?.map_err(|damage| {
                let row = row.get_ref(0).map(|id| format!("{id:?}")).unwrap_or_default();
                OpenError::Damaged {
                    path: path.to_owned(),
                    what: format!("{table} {row}: {damage}"),
                }
            })?;
            if matches!(table, "mailbox" | "message") {
                self.done += 1;
                if self.done.is_multiple_of(ROWS_PER_PROGRESS) {
                    (self.progress)(self.done, self.all);
                }
            }
        }
        Ok(())
    }
}
