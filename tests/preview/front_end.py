"""The page that starts Grafana's built front end, with the settings that a server puts into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROMETHEUS, CLOUDWATCH = "neuron-prometheus", "neuron-cloudwatch"
"""Uids of the provisioned data sources."""

_PERMISSIONS = ("dashboards:read", "folders:read", "datasources:query", "datasources:read")
_SHOWN_BY_PLUGINS = (
    *("metrics", "annotations", "alerting", "logs", "queryOptions", "backend", "builtIn", "mixed"),
    *("category", "hideFromList", "skipDataQuery", "suggestions", "state"),
)


class FrontEnd:
    """A folder with Grafana's `public`, built."""

    def __init__(self, folder: Path) -> None:
        self.public = folder / "public"
        manifest = json.loads((self.public / "build" / "assets-manifest.json").read_text())
        self._scripts: list[str] = manifest["entrypoints"]["app"]["assets"]["js"]
        self._styles = {
            name: str(manifest[f"{name}.css"]["src"]) for name in ("app", "dark", "light")
        }
        self._panels = self._plugins("panel")
        self._data_sources = self._plugins("datasource")

    def file(self, path: str) -> Path | None:
        """Return the file of an address below `/public/`, None if there is none."""
        candidates = [self.public / path]
        first, _, rest = path.partition("/")
        plugin, _, name = rest.partition("/")
        if first == "plugins":
            app = self.public / "app" / "plugins"
            candidates += [
                app / kind / plugin / inside / name
                for kind in ("panel", "datasource")
                for inside in ("", "dist")
            ]
        for candidate in candidates:
            found = candidate.resolve()
            if found.is_relative_to(self.public.resolve()) and found.is_file():
                return found
        return None

    def page(self, theme: str, url: str, scrape_interval: float) -> str:
        """Return the HTML document."""
        boot = {
            "user": _user(theme),
            "settings": self._settings(url, scrape_interval),
            "navTree": [{"id": "home", "text": "Home", "url": "/", "icon": "home-alt"}],
            "assets": {"jsFiles": [], "cssFiles": [], **self._styles},
        }
        text = json.dumps(boot).replace("</", "<\\/")
        styles = "".join(
            f'<link rel="stylesheet" href="{self._styles[name]}">' for name in ("app", theme)
        )
        scripts = "".join(f'<script src="{path}" defer></script>' for path in self._scripts)
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Grafana</title>'
            f'<base href="/"><link rel="icon" href="public/img/fav32.png">{styles}</head>'
            f'<body class="theme-{theme} app-grafana"><div class="preloader"></div>'
            f'<div id="reactRoot"></div><script>window.grafanaBootData = {text};'
            f"window.__grafana_boot_data_promise = Promise.resolve();"
            f"window.__grafana_load_failed = () => {{}};</script>{scripts}</body></html>"
        )

    def _plugins(self, kind: str) -> dict[str, dict[str, Any]]:
        folder = self.public / "app" / "plugins" / kind
        found: dict[str, dict[str, Any]] = {}
        paths = sorted(folder.glob("*/plugin.json"))
        if not paths:
            raise FileNotFoundError(f"the front end is incomplete: no {folder}/*/plugin.json")
        for path in paths:
            document = json.loads(path.read_text())
            name = document["id"]
            found[name] = {
                "id": name,
                "name": document["name"],
                "type": kind,
                "info": document["info"],
                "module": f"core:plugin/{name}",
                "baseUrl": f"public/plugins/{name}",
                "signature": "internal",
                "angular": {"detected": False},
                "loadingStrategy": "script",
                "aliasIDs": [],
                "translations": {},
                "sort": len(found),
                **{key: document[key] for key in _SHOWN_BY_PLUGINS if key in document},
            }
        return found

    def _settings(self, url: str, scrape_interval: float) -> dict[str, Any]:
        prometheus = {"httpMethod": "POST", "timeInterval": f"{scrape_interval:g}s"}
        cloudwatch = {"authType": "default", "defaultRegion": "us-east-1"}
        return {
            "appUrl": url,
            "appSubUrl": "",
            "namespace": "default",
            "buildInfo": {"version": "12.2.0", "edition": "Open Source", "env": "production"},
            "licenseInfo": {"enabledFeatures": {}, "edition": "Open Source"},
            "featureToggles": {"dashboardScene": True},
            "defaultDatasource": "Prometheus",
            "datasources": {
                "Prometheus": self._data_source(1, PROMETHEUS, "prometheus", prometheus),
                "CloudWatch": self._data_source(2, CLOUDWATCH, "cloudwatch", cloudwatch),
                "-- Grafana --": self._data_source(-1, "grafana", "grafana", {}),
                "-- Mixed --": self._data_source(-2, "-- Mixed --", "mixed", {}),
                "-- Dashboard --": self._data_source(-3, "-- Dashboard --", "dashboard", {}),
            },
            "panels": self._panels,
            "apps": {},
            "minRefreshInterval": "5s",
            "rbacEnabled": True,
            "exploreEnabled": True,
            "liveEnabled": False,
            "unifiedAlertingEnabled": True,
            "unifiedAlerting": {"minInterval": "10s"},
            "auth": {},
            "oauth": {},
            "azure": {"clouds": []},
            "caching": {"enabled": False},
            "analytics": {"enabled": False},
            "reporting": {"enabled": False},
            "dashboardPerformanceMetrics": [],
            "awsAllowedAuthProviders": ["default"],
            "enableFrontendSandboxForPlugins": [],
            "pluginCatalogManagedPlugins": [],
            "pluginCatalogHiddenPlugins": [],
            "pluginCatalogPreinstalledPlugins": [],
            "dateFormats": {
                "fullDate": "YYYY-MM-DD HH:mm:ss",
                "useBrowserLocale": False,
                "defaultTimezone": "utc",
                "defaultWeekStart": "browser",
                "interval": {
                    "millisecond": "HH:mm:ss.SSS",
                    "second": "HH:mm:ss",
                    "minute": "HH:mm",
                    "hour": "MM/DD HH:mm",
                    "day": "MM/DD",
                    "month": "YYYY-MM",
                    "year": "YYYY",
                },
            },
        }

    def _data_source(
        self, number: int, uid: str, kind: str, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": number,
            "uid": uid,
            "type": kind,
            "name": kind,
            "meta": self._data_sources[kind],
            "module": f"core:plugin/{kind}",
            "url": f"/api/datasources/proxy/uid/{uid}",
            "isDefault": kind == "prometheus",
            "access": "proxy",
            "readOnly": True,
            "jsonData": options,
            "cachingConfig": {"enabled": False, "TTLMs": 0},
        }


def _user(theme: str) -> dict[str, Any]:
    return {
        "isSignedIn": True,
        "id": 1,
        "uid": "viewer",
        "login": "viewer",
        "name": "viewer",
        "theme": theme,
        "lightTheme": theme == "light",
        "orgCount": 1,
        "orgId": 1,
        "orgName": "Main",
        "orgRole": "Viewer",
        "isGrafanaAdmin": False,
        "timezone": "utc",
        "weekStart": "",
        "regionalFormat": "en-US",
        "language": "en-US",
        "helpFlags1": 0,
        "permissions": dict.fromkeys(_PERMISSIONS, True),
        "analytics": {"identifier": ""},
        "authenticatedBy": "",
    }
