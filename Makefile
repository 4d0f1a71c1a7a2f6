# make demo      a virtual environment, the package, an index of sample_images/, and a page of images
# make test      the tests, with all that they need, of what is installed (`python -m pytest` would find the folder first)
# make test-lowest   most tests, with the oldest Python and the lowest versions that pyproject.toml allows
# make test-newest   most tests, with the newest Python on this machine and the newest versions of today
# make nightly   every test in random order, with sixteen times the examples of CI, then those that take hours: every call that can fail, every step of a crash;
#                then test-lowest and test-newest
#   PART=3/10 SEED=7 runs a tenth of what takes hours: the other nine parts of that seed run in other nights
# make mutants MODULE=vision_recs/recommend/rules.py TESTS=tests/recommend/test_policy.py   see tests/MUTANTS.md
# make lint      style and types
# make docs      the manual as a site in build/site; dead links and unknown names are errors
# make package   sdist and wheel in dist/, the wheel tried in a clean environment

PYTHON ?= python3
VENV ?= .venv
PROCESSES ?= 2
SIDE_BY_SIDE := --numprocesses $(PROCESSES) --dist worksteal # neighbors share what they are prepared with, in one process
INSTALL ?= $(VENV)/bin/python -m pip --disable-pip-version-check --quiet install
SOURCES := $(shell find vision_recs cli -name '*.py' -o -name '*.c' -o -name '*.html' -o -name 'py.typed' -o -path '*/page/*')

.PHONY: demo test test-lowest test-newest mutants nightly lint docs package clean

demo: $(VENV)/.package
	$(VENV)/bin/visrec index sample_images/catalog.csv --store demo/index
	$(VENV)/bin/visrec similar mug-01 -k 5 --one-per item --store demo/index --html demo/similar.html
	@echo 'open demo/similar.html to see the images, or start $(VENV)/bin/visrec serve --store demo/index'

test: $(VENV)/.package $(VENV)/.dev
	$(VENV)/bin/pytest $(SIDE_BY_SIDE) -p no:randomly

test-lowest test-newest: test-%: $(VENV)/.dev
	VENV=$(VENV) PROCESSES=$(PROCESSES) .ci/try-versions $*

mutants: $(VENV)/.package $(VENV)/.dev
	VENV=$(VENV) .ci/try-mutants $(MODULE) $(TESTS)

nightly: $(VENV)/.package $(VENV)/.dev
	-$(MAKE) $(VENV)/milvus-2.3.5
	VISREC_EXAMPLES=4 $(VENV)/bin/pytest $(SIDE_BY_SIDE)
	VISREC_PART=$(PART) VISREC_SEED=$(SEED) $(VENV)/bin/pytest $(SIDE_BY_SIDE) --timeout 0 -m nightly
	$(MAKE) test-lowest test-newest

lint: $(VENV)/.package $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(VENV)/.package $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict # with --quiet, warnings would be no errors
	@! grep -rlE '<(script|link|img)[^>]* (src|href)="?https?:' build/site --include='*.html' # nothing of other hosts
	@echo 'open build/site/index.html'

package: $(VENV)/.dev
	.ci/try-package $(VENV)/bin/python

clean:
	rm -rf $(VENV) build dist demo *.egg-info

# Dependencies take a minute (torch is large), the package itself a few seconds: two steps, so that an edit costs seconds.
$(VENV)/.requirements: pyproject.toml constraints.txt
	@echo 'installing visrec and torch into $(VENV): some minutes the first time'
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --constraint constraints.txt .
	@touch $@

$(VENV)/.package: $(VENV)/.requirements $(SOURCES)
	@rm -rf build/lib build/bdist.* build/temp.*
	@$(INSTALL) --no-deps --force-reinstall .
	@touch $@

# A Milvus server, for one test: in no environment, since it asks for old versions of others.
$(VENV)/milvus-2.3.5: | $(VENV)/.requirements
	@$(INSTALL) --no-deps --target $@ milvus==2.3.5

$(VENV)/.dev: $(VENV)/.requirements
	@$(INSTALL) --constraint constraints.txt '.[dev,docs,formats,lance,milvus,cloud,ray,best-offline,grounding]'
	@touch $@
