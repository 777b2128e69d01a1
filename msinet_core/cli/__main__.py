from msinet_core.cli.main import main

raise SystemExit(main())
