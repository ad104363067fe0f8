//! A page in a real Chromium without a window and without a network, spoken to by its DevTools protocol over a pipe.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const NEEDED: &str = "chromium is needed and must run (`scripts/test` installs it)";

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
    folder: TempDir,
}

impl Browser {
    /// Opens a page in `light` or `dark` and waits until it is loaded.
    pub(crate) fn open(page: &str, scheme: &str) -> Browser {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        std::fs::write(&path, page).unwrap();
        // Chromium speaks on the descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 1>/dev/null", "sh", "chromium", "--headless", "--no-sandbox"])
            .args(["--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
            .args([
                "--window-size=1200,900",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--disable-background-networking",
            ])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("--remote-debugging-pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut browser = Browser { process, commands, answers, session: None, calls: 0, events: Vec::new(), folder };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
        browser.call("Page.navigate", json!({"url": format!("file://{}", path.display())}));
        while !browser.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = browser.read();
            browser.events.push(event);
        }
        browser
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "{NEEDED}");
        serde_json::from_slice(&message).unwrap()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).expect(NEEDED);
        loop {
            let mut answer = self.read();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// Runs the body of an async function on the page and returns what that returns. `until(test)` waits there, frame
    /// by frame, for something to become true.
    pub(crate) fn ask(&mut self, body: &str) -> Value {
        let expression = format!(
            "(async () => {{ const until = async (test) => {{ while (!test()) await new Promise(requestAnimationFrame); }}; {body} }})()"
        );
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// What went wrong on the page so far, and what it tried to load beside itself.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let own = format!("file://{}", self.folder.path().display());
        let told = |event: &Value| {
            let params = &event["params"];
            let is_wrong = match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => {
                    ["error", "warning", "assert"].contains(&params["type"].as_str().unwrap())
                }
                "Log.entryAdded" => params["entry"]["level"] == "error",
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str().unwrap();
                    !["data:", "blob:", own.as_str()].iter().any(|start| url.starts_with(start))
                }
                _ => false,
            };
            is_wrong.then(|| params.to_string())
        };
        self.events.iter().filter_map(told).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is of no use any more, whatever state it is in.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
