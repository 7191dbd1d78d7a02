//! The state in one SQLite file.

use crate::scenarios;
use crate::support::Store;

system_tests!(Store::sqlite(), and services);
