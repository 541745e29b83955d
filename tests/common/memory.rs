//! An index in memory, of which is known what was read.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition,
    TableHandle as _,
};

/// The bytes of an index.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    read: Arc<Mutex<BTreeSet<usize>>>,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), read: Arc::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Places that were read since this was asked before.
    fn take_read(&self) -> BTreeSet<usize> {
        std::mem::take(&mut *self.read.lock().unwrap())
    }

    fn range(&self, offset: u64, len: usize) -> Range<usize> {
        let start = usize::try_from(offset).unwrap();
        start..start + len
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let range = self.range(offset, out.len());
        self.read.lock().unwrap().insert(range.start);
        out.copy_from_slice(&self.bytes.lock().unwrap()[range]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = self.range(offset, data.len());
        self.bytes.lock().unwrap()[range].copy_from_slice(data);
        Ok(())
    }
}

/// Where the pages of an index are.
pub(crate) struct Pages {
    /// The header, what is read to open it, also where its tables begin, and to commit to it.
    pub(crate) own: Vec<usize>,
    /// Those of its tables.
    pub(crate) tables: Vec<usize>,
}

impl Pages {
    pub(crate) fn of(index: &[u8]) -> Self {
        let file = Memory::new(index.to_vec());
        let database = Database::builder().create_with_backend(file.clone()).unwrap();
        let view = database.begin_read().unwrap();
        let names: Vec<String> =
            view.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        let named = |name| TableDefinition::<&[u8], &[u8]>::new(name);
        let tables: Vec<_> =
            names.iter().map(|name| view.open_table(named(name)).unwrap()).collect();
        let opened = file.take_read();
        tables.iter().for_each(|table| assert!(table.iter().unwrap().all(|row| row.is_ok())));
        let in_tables = file.take_read();
        drop((tables, view));
        let mut write = database.begin_write().unwrap();
        write.set_quick_repair(true);
        write.commit().unwrap();
        let own = opened.union(&file.take_read()).copied().collect::<BTreeSet<_>>();
        let own = own.difference(&in_tables).copied().collect();
        Self { own, tables: in_tables.into_iter().collect() }
    }
}
