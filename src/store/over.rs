//! Pages in memory over a file that stays as it is.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::env::DiskFile;

/// Bytes that are taken over together.
pub(super) const PAGE: usize = 4096;

/// What a file would have in it, had all been written to it.
#[derive(Debug)]
pub(crate) struct Over {
    /// Up to here the file's own bytes count.
    base: u64,
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Over {
    /// Nothing is over the file yet.
    pub(crate) fn new(file: &dyn DiskFile) -> io::Result<Self> {
        let len = file.size()?;
        Ok(Self { base: len, len, pages: BTreeMap::new() })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What is beyond a length that it once had is zeros.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.base = self.base.min(len);
            let cut = len / PAGE as u64;
            drop(self.pages.split_off(&(cut + 1)));
            if let Some(page) = self.pages.get_mut(&cut) {
                page[inside(len)..].fill(0);
            }
        }
        self.len = len;
    }

    /// Beyond the end, where only a decayed page leads, are zeros.
    pub(crate) fn read(&self, file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (out, beyond) = out.split_at_mut(there.min(out.len()));
        beyond.fill(0);
        for (number, from, range) in pieces(offset, out.len()) {
            let page = self.page(file, number)?;
            let len = range.len();
            out[range].copy_from_slice(&page[from..from + len]);
        }
        Ok(())
    }

    pub(crate) fn write(
        &mut self,
        file: &dyn DiskFile,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        for (number, from, range) in pieces(offset, data.len()) {
            let mut page = self.page(file, number)?;
            page[from..from + range.len()].copy_from_slice(&data[range]);
            self.pages.insert(number, page);
        }
        self.len = self.len.max(offset + data.len() as u64);
        Ok(())
    }

    /// A page as it stands; beyond the file's end it has zeros.
    fn page(&self, file: &dyn DiskFile, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE];
        let start = number * PAGE as u64;
        let there = usize::try_from(self.base.saturating_sub(start)).unwrap_or(usize::MAX);
        if there > 0 {
            file.read_exact_at(start, &mut page[..there.min(PAGE)])?;
        }
        Ok(page)
    }
}

fn inside(offset: u64) -> usize {
    usize::try_from(offset % PAGE as u64).expect("less than a page")
}

/// The pages of a stretch: number, where in it, where in the stretch.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let from = inside(at);
        let now = (len - done).min(PAGE - from);
        let range = done..done + now;
        done += now;
        (now > 0).then_some((at / PAGE as u64, from, range))
    })
}
