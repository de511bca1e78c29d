# The usual names for what script/ does.

.PHONY: test long long-agent long-collector lint deb chart image demo docs fresh smoke clean

test: # what CI runs
	script/test

long: # and what takes longer: the long tier, and the package in other places
	script/test --long
	script/test-system-python
	script/prove-package

long-agent: # the part of it about the daemon and its packages
	script/test --long tests/agent tests/package tests/packaging
	script/test-system-python
	script/prove-package

long-collector: # the part of it about the collector
	script/test --long tests/collector

lint:
	script/setup tests
	script/lint

deb: # dist/nodeward_*.deb, with lintian's opinion and a bill of materials
	script/deb --lint

chart: # the chart's README and the kustomize base
	script/chart

image: # .cache/nodeward.oci
	script/image

demo:
	script/demo

docs: # docs/checks
	script/docs

fresh: # CI on a clean clone in a fresh Debian 12
	script/fresh

smoke: # two virtual machines
	$(MAKE) -C vagrant smoke

clean:
	rm -rf dist .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
