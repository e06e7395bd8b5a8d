//! Who is whose child in a trace printed with identities.
//!
//! A copy, a segment and a fragment each get an identity of their own, which names the packet that
//! they were made of. Trials ask for one packet's descendants, whatever was made of them in turn.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use crate::row::Identity;
use crate::story::Hop;
use crate::tracer::Outcome;

impl Outcome {
    /// Identity of the first such row.
    pub fn identity(&self, wanted: &Hop<'_>) -> Result<Identity> {
        let row = self.find(wanted)?;
        row.identity
            .with_context(|| format!("without identity: {row}"))
    }

    /// The identities of all such rows.
    pub fn identities(&self, wanted: &Hop<'_>) -> Result<BTreeSet<Identity>> {
        let rows = self.rows.iter().filter(|row| wanted.matches(row));
        rows.map(|row| {
            row.identity
                .with_context(|| format!("without identity: {row}"))
        })
        .collect()
    }

    /// Packet `ancestor` and all that was made of it.
    pub fn family(&self, ancestor: u64) -> Result<BTreeSet<u64>> {
        let parents = self.parents()?;
        let mut family = BTreeSet::from([ancestor]);
        // Children may be printed before their parent's next row, so until nothing is added.
        loop {
            let more: Vec<u64> = parents
                .iter()
                .filter(|(id, parent)| {
                    !family.contains(id) && parent.is_some_and(|parent| family.contains(&parent))
                })
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                return Ok(family);
            }
            family.extend(more);
        }
    }

    /// Each packet's parent, which must be the same in all of its rows, and never itself.
    fn parents(&self) -> Result<BTreeMap<u64, Option<u64>>> {
        let mut parents = BTreeMap::new();
        for row in &self.rows {
            let identity = row
                .identity
                .with_context(|| format!("without identity: {row}"))?;
            ensure!(
                identity.parent != Some(identity.id),
                "a packet is its own parent: {row}"
            );
            let known = parents.entry(identity.id).or_insert(identity.parent);
            ensure!(
                *known == identity.parent,
                "packet #{} has another parent ({known:?} before): {row}",
                identity.id
            );
        }
        Ok(parents)
    }

    /// Fails unless every row belongs to `ancestor`'s family.
    pub fn one_family(&self, ancestor: u64) -> Result<()> {
        self.families([ancestor])
    }

    /// Fails unless every row belongs to one of their families.
    pub fn families<const N: usize>(&self, ancestors: [u64; N]) -> Result<()> {
        let mut family = BTreeSet::new();
        for ancestor in ancestors {
            family.extend(self.family(ancestor)?);
        }
        let stranger = self.rows.iter().find(|row| {
            row.identity
                .is_none_or(|identity| !family.contains(&identity.id))
        });
        match stranger {
            None => Ok(()),
            Some(row) => {
                let names = ancestors.map(|ancestor| format!("#{ancestor}"));
                anyhow::bail!("nothing to do with packet {}: {row}", names.join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;

    /// A trace with these identities, one a row.
    fn trace(identities: &[&str]) -> Outcome {
        let rows = identities.iter().map(|id| {
            let line = format!(
                "[06:47:28.1] [1] eth0 0a7100000002 U:1.2.3.4:5->6.7.8.9:10 \
                 ffff949a8d639a00.0:ip_rcv 0 33 0x0 1 nc pod {id} rx -"
            );
            Row::parse(&line).expect("parses").expect("is no heading")
        });
        Outcome {
            rows: rows.collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn descendants_of_descendants_belong_to_the_family() {
        // A grandchild printed before its parent, and strangers.
        let many = trace(&["#1", "#4<#2", "#2<#1", "#3", "#5<#?", "#1"]);
        assert_eq!(many.family(1).expect("known"), [1, 2, 4].into());
        let error = many.one_family(1).expect_err("strangers");
        assert!(error.to_string().contains("packet #1"), "{error}");
        assert!(trace(&["#1", "#2<#1"]).one_family(1).is_ok());
    }

    #[test]
    fn one_packet_has_one_parent_and_is_not_its_own() {
        assert!(trace(&["#1", "#2<#1", "#2"]).family(1).is_err());
        assert!(trace(&["#1<#1"]).family(1).is_err());
        assert!(trace(&["-"]).family(1).is_err());
    }
}
