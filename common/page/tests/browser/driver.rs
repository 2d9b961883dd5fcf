//! A headless Chromium, driven by chromedriver over HTTP.
//!
//! Our own client of WebDriver and no crate for it: fantoccini and thirtyfour bring an asynchronous runtime, for what is
//! here a dozen requests in JSON to this machine.
//!
//! Invariant: the browser and its driver end with this value. A browser that cannot start is an `Err` with the reason.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// For one request, and for what a page must come to. Only a browser that hangs takes so long: a page whose player does not
/// start says so at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// One session of one browser.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
}

/// The programs that are needed, or the sentence that says what is missing.
pub fn programs() -> Result<(PathBuf, PathBuf), String> {
    let driver = found(&["chromedriver"]).ok_or("chromedriver is not installed (Debian: chromium-driver)")?;
    let browser = found(&["chromium", "chromium-browser", "google-chrome"]);
    Ok((driver, browser.ok_or("neither chromium nor google-chrome is installed")?))
}

fn found(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut all = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    all.find(|file| file.is_file())
}

/// Whether the pictures are wanted: with SCREENSHOTS=FOLDER.
pub fn keeps_pictures() -> bool {
    std::env::var_os("SCREENSHOTS").is_some()
}

impl Browser {
    /// Starts both.
    pub fn start() -> Result<Self, String> {
        let (driver, browser) = programs()?;
        let mut command = Command::new(driver);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().map_err(|error| format!("chromedriver: {error}"))?;
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // A pipe that is full would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let mut this = Self { driver, agent: config.build().into(), session: String::new() };
        let port = port.ok_or("chromedriver did not say on which port it listens")?;
        this.session = format!("http://127.0.0.1:{port}/session");
        let answer = this.post("", &capabilities(&browser))?;
        let id = answer["sessionId"].as_str().ok_or("chromedriver gave no session")?;
        this.session = format!("{}/{id}", this.session);
        Ok(this)
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&self, url: &str) {
        // From file to file with only the fragment changed is no load.
        self.say("/url", &json!({ "url": "about:blank" }));
        self.logs();
        self.say("/url", &json!({ "url": url }));
    }

    /// Opens a page whose players have begun.
    pub fn play(&self, url: &str) {
        self.open(url);
        self.until(
            "document.documentElement.classList.contains('alive') || document.querySelector('[role=alert]') !== null",
        );
        let said = self.value("document.querySelector('[role=alert]')?.innerText ?? ''");
        assert_eq!(said, json!(""), "the player of {url} did not start; the console: {:?}", self.logs().errors);
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.say("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What an expression is worth.
    pub fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};"))
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        let started = Instant::now();
        while self.value(expression) != json!(true) {
            assert!(started.elapsed() < PATIENCE, "never true: {expression}; the console: {:?}", self.logs().errors);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys, one after the other, as a person does.
    pub fn press(&self, keys: &[&str]) {
        let press = |key: &&str| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        self.say("/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// Clicks in the middle of the first element that fits the selector.
    pub fn click(&self, selector: &str) {
        let element = self.say("/element", &json!({ "using": "css selector", "value": selector }));
        let id = element.as_object().and_then(|it| it.values().next()).and_then(Value::as_str).expect("an element");
        self.say(&format!("/element/{id}/click"), &json!({}));
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.say("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Another size, palette or medium; `None` for the browser's own.
    pub fn look(&self, size: Option<(u32, u32)>, dark: bool, medium: &str) {
        match size {
            Some((width, height)) => self.devtools(
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 }),
            ),
            None => self.devtools("Emulation.clearDeviceMetricsOverride", json!({})),
        };
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features }));
    }

    /// A picture of what is seen, for people to look at: with SCREENSHOTS=FOLDER.
    pub fn picture(&self, name: &str) {
        use base64::Engine as _;
        let Some(folder) = std::env::var_os("SCREENSHOTS") else { return };
        let answer = self.get("/screenshot").expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(answer.as_str().expect("base64")).expect("base64");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).expect("a file");
    }

    /// What the page did since the last call of this.
    pub fn logs(&self) -> Logs {
        let log = |kind: &str| match self.say("/se/log", &json!({ "type": kind })) {
            Value::Array(entries) => entries,
            _ => Vec::new(),
        };
        let console = log("browser").into_iter();
        let errors = console
            .filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")))
            .map(|entry| entry["message"].to_string())
            .collect();
        let request = |entry: Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            (message["method"] == "Network.requestWillBeSent").then(|| message["params"]["request"]["url"].clone())
        };
        let requests = log("performance").into_iter().filter_map(request);
        Logs { errors, requests: requests.filter_map(|url| url.as_str().map(str::to_owned)).collect() }
    }

    fn say(&self, path: &str, body: &Value) -> Value {
        self.post(path, body).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.agent.post(format!("{}{path}", self.session)).send_json(body);
        read(answer.map_err(|error| error.to_string())?)
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.agent.get(format!("{}{path}", self.session)).call();
        read(answer.map_err(|error| error.to_string())?)
    }
}

/// What a page wrote to the console, and what it asked the network for.
#[derive(Debug)]
pub struct Logs {
    pub errors: Vec<String>,
    pub requests: Vec<String>,
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value, String> {
    let mut answer: Value = answer
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_json()
        .map_err(|error| format!("no JSON came back: {error}"))?;
    let value = answer["value"].take();
    match value["error"].as_str() {
        Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
        None => Ok(value),
    }
}

fn capabilities(browser: &Path) -> Value {
    // Without a sandbox, because the tests of a container run as root; the pages are our own.
    let arguments =
        ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1440,900"];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": browser, "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    } } })
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.session.len() > "http://127.0.0.1:65535/session".len() {
            let _ = self.agent.delete(&self.session).call();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
