//! Everything that needs a server, against real servers started by the tests.
