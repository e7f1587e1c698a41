//! Top-up rules and top-ups: requests and answers as the document says.

use serde_json::json;

use super::Checked;

impl Checked<'_> {
    pub(super) async fn top_ups(&mut self) {
        let rules = "/api/v1/customers/ada/topup-rules";
        let rule = json!({
            "enabled": true, "feature": "usd_credits", "threshold": "-1", "quantity": "20", "currency": "USD",
            "payment_method": "pm_1", "mode": "invoice", "cooldown_seconds": 60,
            "max_per_day": { "count": 3, "money": { "amount": "60.00", "currency": "usd" } },
            "max_per_month": { "count": null, "money": { "amount": "90.00", "currency": "usd" } },
            "consent": { "by": "ada", "at": "2026-01-02T03:04:05Z", "text_version": "3" },
        });
        self.call(200, "PUT", &format!("{rules}/a"), Some(rule.clone())).await;
        self.call(200, "GET", &format!("{rules}/a"), None).await;
        self.call(200, "GET", &format!("{rules}/a/why"), None).await;
        // A low balance: it fires at once, and is paused soon or charged.
        let low = json!({ "enabled": true, "feature": "usd_credits", "threshold": "100000", "target": "100005",
            "max_per_day": null, "consent": rule["consent"].clone() });
        self.call(200, "PUT", &format!("{rules}/low"), Some(low)).await;
        self.call(200, "GET", &format!("{rules}/low/why"), None).await;
        let off = json!({ "enabled": false, "feature": "usd_credits", "threshold": "1", "target": "2", "mode": null });
        self.call(200, "PUT", &format!("{rules}/off"), Some(off)).await;
        self.call(200, "GET", &format!("{rules}/off/why"), None).await;
        self.call(200, "GET", rules, None).await;
        self.call(200, "GET", "/api/v1/customers/ada", None).await;
        self.call(200, "DELETE", &format!("{rules}/off"), None).await;
        self.call(404, "GET", &format!("{rules}/off"), None).await;
        self.call(404, "GET", &format!("{rules}/off/why"), None).await;
        self.call(404, "DELETE", &format!("{rules}/off"), None).await;
        self.call(404, "GET", "/api/v1/customers/nobody/topup-rules", None).await;
        for (member, value, status) in [
            ("consent", json!(null), 400),
            ("currency", json!("gbp"), 400),
            ("threshold", json!(5), 400),
            ("feature", json!("nothing"), 404),
            ("wallet", json!("none"), 404),
        ] {
            let mut other = rule.clone();
            other[member] = value;
            self.call(status, "PUT", &format!("{rules}/b"), Some(other)).await;
        }
        let order = json!({ "key": "t1", "customer": "ada", "feature": "usd_credits", "quantity": "6", "currency": "usd",
            "payment_method": "pm_1" });
        let made = self.call(202, "POST", "/api/v1/topups", Some(order.clone())).await;
        self.call(202, "POST", "/api/v1/topups", Some(order.clone())).await;
        for (member, value, status) in [
            ("quantity", json!("7"), 409),
            ("customer", json!("nobody"), 404),
            ("feature", json!("basic_messages"), 400),
            ("wallet", json!("none"), 404),
        ] {
            let mut other = order.clone();
            other[member] = value;
            other["key"] = json!(if status == 409 { "t1" } else { "t3" });
            self.call(status, "POST", "/api/v1/topups", Some(other)).await;
        }
        let dear = json!({ "key": "t2", "customer": "ada", "feature": "usd_credits", "quantity": "501" });
        self.call(409, "POST", "/api/v1/topups", Some(dear)).await;
        self.call(200, "GET", &format!("/api/v1/topups/{}", made["id"].as_str().unwrap()), None).await;
        self.call(404, "GET", "/api/v1/topups/none", None).await;
        self.call(200, "GET", "/api/v1/customers/ada/topups?feature=usd_credits&rule=a", None).await;
        self.call(200, "GET", "/api/v1/customers/ada/topups?limit=1", None).await;
        self.call(400, "GET", "/api/v1/customers/ada/topups?limit=0", None).await;
        self.call(404, "GET", "/api/v1/customers/nobody/topups", None).await;
    }
}
