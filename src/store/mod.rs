//! Object stores, and the intents and outcomes of flushes.
