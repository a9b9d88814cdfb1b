//! The diagnosis behind `sysak memleak`: is kernel memory lost, which function loses it, and if none is lost, who
//! uses it?
//!
//! [`diagnose`] takes snapshots, watches a live machine between them, judges every cache that is worth a word,
//! and explains what it found; [`to_report`] turns the result into the report.

pub mod blame;
pub mod callers;
pub mod confirm;
pub mod counted;
pub mod decision;
pub mod diagnose;
pub mod explain;
pub mod judge;
pub mod lists;
pub mod lost;
pub mod observed;
pub mod outside;
pub mod plan;
pub mod rank;
pub mod second_opinion;
pub mod similarity;
mod suspects;
pub mod to_report;
pub mod trend;
pub mod turnover;
pub mod verdict;
pub mod watch;
