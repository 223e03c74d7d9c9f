//! pgconvoy: one address in front of a PostgreSQL leader and its replicas.
