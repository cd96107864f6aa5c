//! Bad events: records, fingerprints, groups.
