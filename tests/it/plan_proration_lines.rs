//! Proration lines of invoices, as the changes they tell.
