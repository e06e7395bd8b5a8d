//! A set of rows of the catalogue, asked about at each event.

/// Rows, those behind the catalogue too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSet(Vec<bool>);

impl RowSet {
    /// Adds a row.
    pub fn insert(&mut self, row: u16) {
        let row = usize::from(row);
        if self.0.len() <= row {
            self.0.resize(row + 1, false);
        }
        if let Some(place) = self.0.get_mut(row) {
            *place = true;
        }
    }

    /// Whether a row is in it.
    #[must_use]
    #[inline]
    pub fn contains(&self, row: u16) -> bool {
        self.0.get(usize::from(row)).copied().unwrap_or(false)
    }
}

impl FromIterator<u16> for RowSet {
    fn from_iter<I: IntoIterator<Item = u16>>(rows: I) -> Self {
        let mut set = Self::default();
        rows.into_iter().for_each(|row| set.insert(row));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_it_or_not() {
        let set: RowSet = [3, 0].into_iter().collect();
        let held = [0, 1, 2, 3, 4, u16::MAX].map(|row| set.contains(row));
        assert_eq!(held, [true, false, false, true, false, false]);
    }
}
