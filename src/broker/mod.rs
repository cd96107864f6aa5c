//! RabbitMQ in and back in, and an in-memory twin of it.
