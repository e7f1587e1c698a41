//! The page that an attach leads to, paid in a real browser: headless Chromium, told what to do through two pipes. On a
//! machine without one the test says that it skipped.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::attach::{Shop, pairs};

/// Where a browser is looked for.
const BROWSERS: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/lib/chromium/chromium"];
/// Looks at the page before it is taken for broken, and the pause between them.
const LOOKS_MAX: u32 = 200;
const PAUSE: Duration = Duration::from_millis(100);
/// Messages read while one answer is awaited; a page that loads sends a handful.
const MESSAGES_MAX: u32 = 10_000;

/// A browser with one page.
struct Browser {
    child: Child,
    to: std::fs::File,
    from: BufReader<std::fs::File>,
    asked: u64,
    session: Value,
}

impl Browser {
    fn open(program: &str, folder: &Path) -> Self {
        let (to, from) = (folder.join("to"), folder.join("from"));
        assert!(Command::new("mkfifo").arg(&to).arg(&from).status().unwrap().success());
        // The shell opens the pipes as the browser's third and fourth file, and becomes the browser.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --no-proxy-server --disable-background-networking --user-data-dir=\"$3\" --remote-debugging-pipe \
            about:blank 3<\"$1\" 4>\"$2\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, program]).arg(&to).arg(&from).arg(folder.join("profile"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Each end waits for the other to open, in the shell's order.
        let to = std::fs::OpenOptions::new().write(true).open(to).unwrap();
        let from = BufReader::new(std::fs::File::open(from).unwrap());
        Self { child, to, from, asked: 0, session: Value::Null }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if self.session.is_string() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        for _ in 0..MESSAGES_MAX {
            let mut bytes = Vec::new();
            assert!(self.from.read_until(0, &mut bytes).unwrap() > 0, "the browser is gone");
            bytes.pop();
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.asked {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
        }
        panic!("no answer to {method}");
    }

    fn go_to(&mut self, url: &str) {
        let target = self.ask("Target.createTarget", &json!({ "url": url }))["targetId"].clone();
        let attached = self.ask("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].clone();
    }

    fn says(&mut self, script: &str) -> Value {
        self.ask("Runtime.evaluate", &json!({ "expression": script, "returnByValue": true }))["result"]["value"].clone()
    }

    /// Waits until the page says that it is so.
    fn until(&mut self, script: &str) {
        for _ in 0..LOOKS_MAX {
            if self.says(script) == true {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        let page = self.says("location.href + ' ' + document.body.innerText");
        panic!("it never became so: {script}: {page}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is gone already, or goes now; either way it is waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pay_in_browser(program: &str, page: &str, thanks: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::open(program, folder.path());
    browser.go_to(page);
    browser.until("document.querySelector('form button') !== null");
    assert_eq!(browser.says("document.querySelector('form button').innerText"), "Pay");
    browser.says("document.querySelector('form button').click()");
    browser.until(&format!("location.href.startsWith('{thanks}')"));
}

#[tokio::test]
async fn a_buyer_pays_on_the_page_in_a_real_browser() {
    let Some(program) = BROWSERS.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped the browser: there is no Chromium at {}", BROWSERS.join(", "));
        return;
    };
    let shop = Shop::open().await;
    let thanks = shop.app.address("/healthz");
    // The plan first: once a card is saved, it is charged without a page. Packs without a key have one all the same.
    for (plan, mut more) in [("pro", json!({})), ("top_up", json!({ "quantities": { "credits": "20" } }))] {
        more["success_url"] = json!(format!("{thanks}?session={{CHECKOUT_SESSION_ID}}"));
        let attached = shop.attach(plan, more).await;
        let (page, thanks) = (attached["checkout_url"].as_str().unwrap().to_owned(), thanks.clone());
        tokio::task::spawn_blocking(move || pay_in_browser(program, &page, &thanks)).await.unwrap();
        shop.told().await;
    }
    shop.told().await;
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("pro", "active")]), "30"));
    shop.close().await;
}
