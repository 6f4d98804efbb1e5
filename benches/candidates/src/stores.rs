//! The candidates, each behind the same three calls.

use anyhow::{Context, Result};
use clap::ValueEnum;
use redb::ReadableDatabase as _;
use std::{ops::Range, path::Path};

/// A row's value, in bytes.
pub const ROW_BYTES: usize = 300;

/// The most that LMDB may map, in bytes: address space, no memory.
const LMDB_MAP_BYTES: usize = 16 << 30;

/// Size to which SQLite's log is cut, in bytes; as in Cometbox.
const SQLITE_LOG_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    Sqlite,
    Fjall,
    Redb,
    Lmdb,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Mode {
    /// Not for the disk. Who has such a commit outlives the process by it; redb
    /// does not, see [`Kind::outlives_the_process`].
    Os,
    /// For the disk.
    Disk,
}

/// Rows that are put and rows that go, in one transaction.
pub trait Store {
    fn commit(&mut self, put: &[(u64, Vec<u8>)], gone: Range<u64>) -> Result<()>;
    /// Reads all rows; how many there are.
    fn scan(&mut self) -> Result<u64>;
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Fjall, Self::Redb, Self::Lmdb];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            Self::Lmdb => "LMDB",
        }
    }

    /// Whether a commit that does not wait for the disk is there after a kill.
    pub fn outlives_the_process(self) -> bool {
        self != Self::Redb
    }

    pub fn open(self, folder: &Path, mode: Mode) -> Result<Box<dyn Store>> {
        std::fs::create_dir_all(folder).context("the folder")?;
        Ok(match self {
            Self::Sqlite => Box::new(Sqlite::open(folder, mode)?),
            Self::Fjall => Box::new(Fjall::open(folder, mode)?),
            Self::Redb => Box::new(Redb::open(folder, mode)?),
            Self::Lmdb => Box::new(Lmdb::open(folder, mode)?),
        })
    }
}

/// As Cometbox opens it.
struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let connection = rusqlite::Connection::open(folder.join("rows.sqlite"))?;
        let synchronous = if mode == Mode::Disk { "FULL" } else { "NORMAL" };
        connection.execute_batch(&format!(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             PRAGMA journal_size_limit = {SQLITE_LOG_BYTES};
             CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;"
        ))?;
        Ok(Self(connection))
    }
}

impl Store for Sqlite {
    fn commit(&mut self, put: &[(u64, Vec<u8>)], gone: Range<u64>) -> Result<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO rows VALUES (?, ?)")?;
            for (id, row) in put {
                insert.execute((id.cast_signed(), row))?;
            }
            let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE id = ?")?;
            for id in gone {
                delete.execute([id.cast_signed()])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        let mut select = self.0.prepare("SELECT id, row FROM rows")?;
        let mut rows = select.query(())?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += u64::from(row.get_ref(1)?.as_blob()?.len() == ROW_BYTES);
        }
        Ok(count)
    }
}

struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
    mode: fjall::PersistMode,
}

impl Fjall {
    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let database = fjall::Database::builder(folder).open()?;
        let rows = database.keyspace("rows", fjall::KeyspaceCreateOptions::default)?;
        let mode = match mode {
            Mode::Os => fjall::PersistMode::Buffer,
            Mode::Disk => fjall::PersistMode::SyncData,
        };
        Ok(Self { database, rows, mode })
    }
}

impl Store for Fjall {
    fn commit(&mut self, put: &[(u64, Vec<u8>)], gone: Range<u64>) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for (id, row) in put {
            batch.insert(&self.rows, id.to_be_bytes(), row.as_slice());
        }
        for id in gone {
            // A row is put once and goes once, which the weak kind is for.
            batch.remove_weak(&self.rows, id.to_be_bytes());
        }
        batch.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        let mut count = 0;
        for row in self.rows.iter() {
            let (_, row) = row.into_inner()?;
            count += u64::from(row.len() == ROW_BYTES);
        }
        Ok(count)
    }
}

const ROWS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("rows");

struct Redb {
    database: redb::Database,
    durability: redb::Durability,
}

impl Redb {
    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let database = redb::Database::create(folder.join("rows.redb"))?;
        let durability = match mode {
            Mode::Os => redb::Durability::None,
            Mode::Disk => redb::Durability::Immediate,
        };
        Ok(Self { database, durability })
    }
}

impl Store for Redb {
    fn commit(&mut self, put: &[(u64, Vec<u8>)], gone: Range<u64>) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (id, row) in put {
                rows.insert(id, row.as_slice())?;
            }
            for id in gone {
                rows.remove(id)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        use redb::ReadableTable as _;
        let transaction = self.database.begin_read()?;
        let mut count = 0;
        for row in transaction.open_table(ROWS)?.iter()? {
            count += u64::from(row?.1.value().len() == ROW_BYTES);
        }
        Ok(count)
    }
}

type LmdbKey = heed::types::U64<heed::byteorder::BigEndian>;

struct Lmdb {
    env: heed::Env,
    rows: heed::Database<LmdbKey, heed::types::Bytes>,
}

impl Lmdb {
    fn open(folder: &Path, mode: Mode) -> Result<Self> {
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(LMDB_MAP_BYTES);
        // SAFETY: the file is ours alone, in a folder made for this run; that a
        // power cut may damage what is not synced is what the mode stands for.
        let env = unsafe {
            if mode == Mode::Os {
                options.flags(heed::EnvFlags::NO_SYNC);
            }
            options.open(folder)?
        };
        let mut transaction = env.write_txn()?;
        let rows = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, rows })
    }
}

impl Store for Lmdb {
    fn commit(&mut self, put: &[(u64, Vec<u8>)], gone: Range<u64>) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (id, row) in put {
            self.rows.put(&mut transaction, id, row)?;
        }
        for id in gone {
            self.rows.delete(&mut transaction, &id)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn scan(&mut self) -> Result<u64> {
        let transaction = self.env.read_txn()?;
        let mut count = 0;
        for row in self.rows.iter(&transaction)? {
            count += u64::from(row?.1.len() == ROW_BYTES);
        }
        Ok(count)
    }
}
